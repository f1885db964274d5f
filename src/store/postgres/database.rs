//! Which database: what `--database` says.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

/// The port of a server that names none.
const PORT: u16 = 5432;

/// Where a database is. It holds no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    pub(super) user: Option<String>,
    pub(super) place: Place,
    pub(super) name: String,
}

/// Where its server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The first of them that takes writes.
    Hosts(Vec<(String, u16)>),
    /// A folder with a socket.
    Socket(PathBuf, u16),
}

/// Why a text names no database. The text is not repeated: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDatabase {
    /// It is not of the form.
    #[error("write HOST[:PORT]/NAME or postgres://[USER@]HOST[:PORT]/NAME")]
    Form,
    /// Everybody who may list processes would read it.
    #[error("it holds a password: take it out, and name a file that holds it with --database-password-file")]
    Password,
    /// What the URL says after `?` is said by flags, or not at all.
    #[error(
        "it has parameters after `?`: only host=/FOLDER is taken there; TLS is set with --database-tls and \
         --database-ca-file"
    )]
    Parameters,
}

impl FromStr for Database {
    type Err = InvalidDatabase;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| text.strip_prefix(scheme));
        let rest = rest.unwrap_or(text);
        let (rest, parameters) =
            rest.split_once('?').map_or((rest, None), |(rest, after)| (rest, Some(after)));
        // A password may hold any character; a name of a host holds none of these.
        let (login, rest) = rest.rsplit_once('@').map_or((None, rest), |(login, rest)| (Some(login), rest));
        if login.is_some_and(|login| login.contains(':')) {
            return Err(InvalidDatabase::Password);
        }
        let user = login.map(decoded).transpose()?;
        let (hosts, name) = rest.split_once('/').ok_or(InvalidDatabase::Form)?;
        let name = decoded(name)?;
        if name.is_empty() || name.contains('/') || user.as_ref().is_some_and(String::is_empty) {
            return Err(InvalidDatabase::Form);
        }
        let place = match (hosts, parameters) {
            ("" | "localhost", Some(parameters)) => socket(parameters)?,
            (_, Some(_)) => return Err(InvalidDatabase::Parameters),
            (hosts, None) => Place::Hosts(hosts.split(',').map(host).collect::<Result<_, _>>()?),
        };
        Ok(Self { user, place, name })
    }
}

impl fmt::Display for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Socket(folder, _) => write!(formatter, "{}", folder.display())?,
            Place::Hosts(hosts) => {
                for (index, (host, port)) in hosts.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    match host.contains(':') {
                        true => write!(formatter, "{comma}[{host}]:{port}")?,
                        false => write!(formatter, "{comma}{host}:{port}")?,
                    }
                }
            }
        }
        write!(formatter, "/{}", self.name)
    }
}

impl Database {
    /// Whether all that goes to it stays on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match &self.place {
            Place::Socket(..) => true,
            Place::Hosts(hosts) => hosts.iter().all(|(host, _)| {
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }),
        }
    }
}

fn socket(parameters: &str) -> Result<Place, InvalidDatabase> {
    let folder = parameters.strip_prefix("host=").ok_or(InvalidDatabase::Parameters)?;
    let folder = decoded(folder)?;
    match folder.starts_with('/') && !folder.contains('&') {
        true => Ok(Place::Socket(folder.into(), PORT)),
        false => Err(InvalidDatabase::Parameters),
    }
}

fn host(text: &str) -> Result<(String, u16), InvalidDatabase> {
    let (host, port) = match text.strip_prefix('[') {
        // Of version 6 (RFC 3986, section 3.2.2).
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(InvalidDatabase::Form)?;
            let host: std::net::Ipv6Addr = host.parse().map_err(|_| InvalidDatabase::Form)?;
            (host.to_string(), port.strip_prefix(':').or(port.is_empty().then_some("")))
        }
        None => {
            let (host, port) = text.split_once(':').unwrap_or((text, ""));
            (host.to_owned(), Some(port))
        }
    };
    let port = match port {
        Some("") => PORT,
        Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(InvalidDatabase::Form)?,
        None => return Err(InvalidDatabase::Form),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_host) {
        return Err(InvalidDatabase::Form);
    }
    Ok((host, port))
}

fn decoded(text: &str) -> Result<String, InvalidDatabase> {
    let text = percent_decode_str(text).decode_utf8().map_err(|_| InvalidDatabase::Form)?;
    if text.chars().any(char::is_control) {
        return Err(InvalidDatabase::Form);
    }
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<(String, Option<String>), InvalidDatabase> {
        text.parse::<Database>().map(|database| (database.to_string(), database.user))
    }

    #[test]
    fn a_database_is_named_short_or_as_a_url() {
        let user = |name: &str| Some(name.to_owned());
        for (text, expected, as_user) in [
            ("db.example/gate", "db.example:5432/gate", None),
            ("db:6432/gate", "db:6432/gate", None),
            ("one:1,two:2/gate", "one:1,two:2/gate", None),
            ("postgres://db/gate", "db:5432/gate", None),
            ("postgresql://keeper@db/gate", "db:5432/gate", user("keeper")),
            ("postgres://a%20b@[::1]:7/g%2de", "[::1]:7/g-e", user("a b")),
            ("[2001:db8::1]/gate", "[2001:db8::1]:5432/gate", None),
            ("postgres:///gate?host=/run/postgresql", "/run/postgresql/gate", None),
            ("postgres://keeper@/gate?host=%2Frun%2Fpg", "/run/pg/gate", user("keeper")),
        ] {
            assert_eq!(shown(text), Ok((expected.to_owned(), as_user)), "{text}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for text in [
            "postgres://keeper:canary@db/gate",
            "postgres://keeper:@db/gate",
            "postgres://keeper:can@ry@db/gate",
            "keeper:canary@db/gate",
        ] {
            assert_eq!(shown(text), Err(InvalidDatabase::Password), "{text}");
        }
        assert!(!InvalidDatabase::Password.to_string().contains("canary"));
    }

    #[test]
    fn whatever_else_is_no_database() {
        for text in [
            "",
            "db",
            "/",
            "/gate",
            "db/",
            ":5432/gate",
            "db:0/gate",
            "db:65536/gate",
            "db:x/gate",
            "a/b/c",
            "mysql://db/gate",
            "postgres://@db/gate",
            "[::1/gate",
            "[db]/gate",
            "[::1]7/gate",
            "a,,b/gate",
            "d b/gate",
            "db/ga%00te",
            "postgres://db",
        ] {
            assert_eq!(shown(text), Err(InvalidDatabase::Form), "{text}");
        }
        for text in ["db/gate?sslmode=disable", "db/gate?password=x", "/gate?host=run", "/gate?host=/a&b=c"] {
            assert_eq!(shown(text), Err(InvalidDatabase::Parameters), "{text}");
        }
    }

    #[test]
    fn what_stays_on_this_machine_is_told_from_the_rest() {
        for (text, is_local) in [
            ("localhost/gate", true),
            ("127.0.0.1:7/gate", true),
            ("[::1]/gate", true),
            ("/gate?host=/run", true),
            ("db/gate", false),
            ("localhost,db/gate", false),
            ("10.0.0.1/gate", false),
        ] {
            assert_eq!(text.parse::<Database>().unwrap().is_local(), is_local, "{text}");
        }
    }
}
