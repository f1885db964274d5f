//! The live table of the demo.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use chrono::{DateTime, Local, Utc};

use crate::api::{ObjectKey, SubscriptionStatus};
use crate::printable::printable;
use crate::sandbox::{LedgerSummary, SenderView, Summary};

/// Cells of the bar that shows the time left.
const BAR: usize = 20;

/// One subscription.
pub(super) struct Row {
    name: String,
    webhook: Option<String>,
    expires: Option<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
    next: Option<DateTime<Utc>>,
}

impl Row {
    pub(super) fn new(key: &ObjectKey, status: &SubscriptionStatus) -> Self {
        Self {
            name: key.name.to_string(),
            webhook: status.webhook_id.clone(),
            expires: status.token_expiration_time,
            last: status.last_rotated_time,
            next: status.next_rotation_time,
        }
    }
}

/// The picture as lines.
pub(super) fn draw(
    rows: &[Row],
    deliveries: &BTreeMap<String, (u64, u64)>,
    ledger: &LedgerSummary,
    token_life: Duration,
) -> Vec<String> {
    let now = Utc::now();
    let mut lines = vec![format!(
        "{:<28} {:<width$} {:>6}  {:<8}  {:<8}  {:>8} {:>7}",
        "SUBSCRIPTION",
        "TIME LEFT",
        "",
        "LAST",
        "NEXT",
        "ACCEPTED",
        "REFUSED",
        width = BAR
    )];
    for row in rows {
        let left = row.expires.map(|end| (end - now).to_std().unwrap_or_default());
        let (accepted, refused) =
            row.webhook.as_ref().and_then(|webhook| deliveries.get(webhook)).copied().unwrap_or_default();
        lines.push(format!(
            "{:<28} {} {:>6}  {:<8}  {:<8}  {accepted:>8} {refused:>7}",
            row.name.chars().take(28).collect::<String>(),
            bar(left.unwrap_or_default(), token_life),
            left.map_or_else(|| "-".to_owned(), |left| format!("{:.1}s", left.as_secs_f64())),
            time(row.last),
            time(row.next),
        ));
    }
    lines.push(format!(
        "rotations {}   late {}   refused {}   mints {}   provider calls {}   creates {}",
        ledger.rotations,
        ledger.late + ledger.late_now,
        ledger.deliveries_refused,
        ledger.mints,
        ledger.provider_calls,
        ledger.creates
    ));
    lines
}

/// The other platforms, and what became of all deliveries.
pub(super) fn draw_senders(senders: &[SenderView], account: &Summary) -> Vec<String> {
    let mut lines =
        vec![format!("{:<14} {:>8} {:>14} {:>9}", "PLATFORM", "EVENTS", "ACKNOWLEDGED", "REFUSED")];
    lines.extend(senders.iter().map(|SenderView { name, counts }| {
        let bad = counts.refused + counts.unanswered;
        format!("{name:<14} {:>8} {:>14} {bad:>9}", counts.events, counts.acknowledged)
    }));
    let twice = account.twice + account.unexplained_doubles;
    lines.push(format!(
        "handed on once {}   twice {twice}   parked {}   under way {}",
        account.once, account.parked, account.lost
    ));
    lines
}

/// Draws over what was drawn before.
pub(super) fn repaint(out: &mut impl Write, drawn: &mut usize, lines: &[String]) -> io::Result<()> {
    if *drawn > 0 {
        write!(out, "\x1b[{drawn}A")?;
    }
    for line in lines {
        writeln!(out, "\x1b[2K{}", printable(line))?;
    }
    *drawn = lines.len();
    Ok(())
}

fn bar(left: Duration, whole: Duration) -> String {
    let whole = whole.as_millis().max(1);
    let cells = (left.as_millis() * BAR as u128).div_ceil(whole).min(BAR as u128);
    let full = usize::try_from(cells).unwrap_or(BAR);
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

fn time(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| at.with_timezone(&Local).format("%H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_empties() {
        let whole = Duration::from_secs(20);
        let cells = |left| bar(Duration::from_secs(left), whole).matches('█').count();
        assert_eq!([cells(20), cells(10), cells(1), cells(0), cells(99)], [20, 10, 1, 0, 20]);
    }
}
