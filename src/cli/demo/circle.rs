//! The way of each token: minted, brought in, seen in a delivery, handed on.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Local, Utc};

use crate::sandbox::{Entry, Event, Operation, Outcome};

/// Tokens that are followed at the same time; older ones are forgotten.
const FOLLOWED: usize = 3;
/// Events that were handed on and whose acknowledgement may still be noted.
const EVENTS: usize = 1_000;

/// The way of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Way {
    token: String,
    minted: DateTime<Utc>,
    /// When it was last brought in, and how often.
    brought_in: Option<(DateTime<Utc>, usize)>,
    /// When the gate first accepted a delivery that carried it, and the event of that delivery.
    seen: Option<(DateTime<Utc>, String)>,
    /// When that event reached the application.
    handed_on: Option<DateTime<Utc>>,
}

/// Follows tokens through the sandbox's ledger.
#[derive(Debug, Default)]
pub(super) struct Circle {
    ways: VecDeque<Way>,
    /// When an event reached the application. That may be noted before its acknowledgement is.
    arrived: HashMap<String, DateTime<Utc>>,
    order: VecDeque<String>,
}

impl Circle {
    /// Notes what happened; returns what is new about a token's way.
    pub(super) fn note(&mut self, entry: &Entry) -> Vec<String> {
        let time = entry.time;
        match &entry.event {
            Event::TokenRequest(request) => {
                if let Some(token) = &request.token {
                    self.minted(time, token);
                    return vec![line(time, "minted", &format!("token {token}"))];
                }
            }
            Event::ProviderCall(call)
                if call.effect && matches!(call.operation, Operation::Create | Operation::Update) =>
            {
                if let Some(way) = call.token.as_ref().and_then(|token| self.way(token)) {
                    let count = way.brought_in.map_or(0, |(_, count)| count);
                    way.brought_in = Some((time, count + 1));
                }
            }
            Event::Delivery(delivery) if delivery.outcome == Outcome::Accepted => {
                let arrived = self.arrived.get(&delivery.event).copied();
                if let Some(way) = delivery.token.as_ref().and_then(|token| self.way(token))
                    && way.seen.is_none()
                {
                    way.seen = Some((time, delivery.event.clone()));
                    let mut lines = vec![line(
                        time,
                        "seen",
                        &format!("token {} in a delivery that the gate took", way.token),
                    )];
                    lines.extend(arrived.map(|arrived| way.arrive(arrived)));
                    return lines;
                }
            }
            Event::HandedOn(request) if request.processed => {
                if let Some(event) = &request.event {
                    self.remember(event, time);
                    let waiting = |way: &&mut Way| {
                        way.handed_on.is_none() && way.seen.as_ref().is_some_and(|(_, seen)| seen == event)
                    };
                    return self
                        .ways
                        .iter_mut()
                        .find(waiting)
                        .map(|way| way.arrive(time))
                        .into_iter()
                        .collect();
                }
            }
            _ => {}
        }
        Vec::new()
    }

    fn minted(&mut self, minted: DateTime<Utc>, token: &str) {
        let token = token.to_owned();
        self.ways.push_back(Way { token, minted, brought_in: None, seen: None, handed_on: None });
        if self.ways.len() > FOLLOWED {
            self.ways.pop_front();
        }
    }

    fn way(&mut self, token: &str) -> Option<&mut Way> {
        self.ways.iter_mut().find(|way| way.token == token)
    }

    fn remember(&mut self, event: &str, time: DateTime<Utc>) {
        if self.arrived.insert(event.to_owned(), time).is_none() {
            self.order.push_back(event.to_owned());
        }
        if self.order.len() > EVENTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.arrived.remove(&oldest);
        }
    }

    /// The ways as a table, the newest token first.
    pub(super) fn draw(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<14} {:<10} {:<16} {:<20} {:<10}",
            "TOKEN", "MINTED", "BROUGHT IN", "SEEN IN A DELIVERY", "HANDED ON"
        )];
        let nobody = || "-".to_owned();
        lines.extend(self.ways.iter().rev().map(|way| {
            format!(
                "{:<14} {:<10} {:<16} {:<20} {:<10}",
                way.token,
                clock(way.minted),
                way.brought_in.map_or_else(nobody, |(at, count)| format!("{} ({count})", clock(at))),
                way.seen.as_ref().map_or_else(nobody, |(at, _)| clock(*at)),
                way.handed_on.map_or_else(nobody, clock),
            )
        }));
        // As many lines each time, so that what is below stays where it is.
        lines.resize(1 + FOLLOWED, String::new());
        lines
    }
}

impl Way {
    fn arrive(&mut self, time: DateTime<Utc>) -> String {
        self.handed_on = Some(time);
        line(time, "handed on", &format!("that delivery, with token {}, to the application", self.token))
    }
}

fn line(time: DateTime<Utc>, what: &str, about: &str) -> String {
    format!("{}  {what:<9} {about}", time.format("%H:%M:%S"))
}

fn clock(time: DateTime<Utc>) -> String {
    time.with_timezone(&Local).format("%H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Delivery, HandedOn, ProviderCall, TokenRequest};

    fn minted(token: &str) -> Event {
        Event::TokenRequest(TokenRequest { token: Some(token.into()), ..TokenRequest::default() })
    }

    fn delivered(token: &str, event: &str, outcome: Outcome) -> Event {
        Event::Delivery(Delivery {
            webhook: "w".into(),
            event: event.into(),
            attempt: 1,
            token: Some(token.into()),
            outcome,
            answer: Some(200),
            lost: false,
        })
    }

    fn handed_on(event: &str) -> Event {
        Event::HandedOn(HandedOn {
            path: "gupy".into(),
            delivery: Some("d".into()),
            attempt: Some(1),
            event: Some(event.into()),
            name: None,
            duplicate_of: None,
            polled: false,
            processed: true,
            answer: Some(200),
        })
    }

    fn updated(token: &str) -> Event {
        Event::ProviderCall(ProviderCall {
            operation: Operation::Update,
            webhook: None,
            action: None,
            postback_url: None,
            token: Some(token.into()),
            previous_token: None,
            effect: true,
            doubles: false,
            rate_limited: false,
            answer: Some(200),
        })
    }

    /// The first words of what is told.
    fn told(circle: &mut Circle, events: Vec<Event>) -> Vec<String> {
        let entries = events.into_iter().map(|event| Entry { sequence: 1, time: Utc::now(), event });
        let lines: Vec<String> = entries.flat_map(|entry| circle.note(&entry)).collect();
        lines.iter().map(|line| line[10..19].trim_end().to_owned()).collect()
    }

    #[test]
    fn a_tokens_way_is_told_once_in_either_order_of_the_last_two_steps() {
        let mut circle = Circle::default();
        let events = vec![
            minted("t1"),
            updated("t1"),
            delivered("t1", "e0", Outcome::Refused),
            delivered("t1", "e1", Outcome::Accepted),
            handed_on("e9"),
            handed_on("e1"),
            delivered("t1", "e2", Outcome::Accepted),
            handed_on("e2"),
        ];
        assert_eq!(told(&mut circle, events), ["minted", "seen", "handed on"]);
        let events = vec![minted("t2"), handed_on("e3"), delivered("t2", "e3", Outcome::Accepted)];
        assert_eq!(told(&mut circle, events), ["minted", "seen", "handed on"]);
        let picture = circle.draw();
        assert!(picture[1].starts_with("t2") && picture[2].starts_with("t1"), "{picture:?}");
        assert!(picture[2].contains(" (1)") && !picture[2].contains(" - "), "{picture:?}");
        assert_eq!(picture.len(), 4);
    }

    #[test]
    fn what_is_followed_is_bounded() {
        let mut circle = Circle::default();
        for number in 0..2 * EVENTS {
            told(&mut circle, vec![minted(&number.to_string()), handed_on(&number.to_string())]);
        }
        assert_eq!((circle.ways.len(), circle.arrived.len(), circle.order.len()), (FOLLOWED, EVENTS, EVENTS));
    }
}
