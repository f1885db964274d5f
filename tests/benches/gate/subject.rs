//! What is measured.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::marks::Marks;
use crate::process::{Process, free_address};
use crate::{application, client, hookkeeper, peers};

/// Where deliveries are sent.
pub const PATH: &str = "/bench/deliveries";

/// A server, or several that belong together.
pub struct Subject {
    /// For the command line.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What it does less than the gate does, or what is to be known of it.
    pub less: &'static str,
    /// Whether what it acknowledges comes to the application.
    pub hands_on: bool,
    /// Starts it.
    pub start: fn(&Place) -> Result<Running, String>,
}

/// Where it runs.
pub struct Place {
    /// A folder of its own.
    pub folder: PathBuf,
    /// The application behind it.
    pub application: SocketAddr,
}

/// It runs, until this is dropped.
pub struct Running {
    /// Where it takes deliveries in; connections are divided among them.
    pub addresses: Vec<SocketAddr>,
    /// Its programs; they are ended in this order.
    pub processes: Vec<Process>,
}

/// Everything that is measured, the limit first: others are compared with it.
pub fn all() -> Vec<Subject> {
    let mut all = vec![Subject {
        name: "answers-200",
        title: "only answers 200 (the limit)",
        less: "built as the gate's listener is; verifies nothing, keeps nothing, hands nothing on",
        hands_on: false,
        start: |place| {
            let limit = Application::start(free_address(), &place.folder, "answers-200")?;
            Ok(Running { addresses: vec![limit.address], processes: vec![limit.process] })
        },
    }];
    all.extend(hookkeeper::subjects());
    all.extend(peers::subjects());
    all
}

/// The application that deliveries are handed on to.
pub struct Application {
    pub address: SocketAddr,
    process: Process,
}

impl Application {
    pub fn start(address: SocketAddr, folder: &Path, name: &str) -> Result<Self, String> {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["part", "application", &address.to_string()]);
        let mut process = Process::start(name, &mut command, folder)?;
        process.listens(address)?;
        Ok(Self { address, process })
    }

    /// How many different deliveries came, and how many came again.
    pub fn count(&self) -> [u64; 2] {
        let (_, body) = client::get(self.address, application::COUNT).unwrap();
        let text = String::from_utf8(body).unwrap();
        let (distinct, repeated) = text.split_once(' ').unwrap();
        [distinct.parse().unwrap(), repeated.parse().unwrap()]
    }

    /// Which deliveries came.
    pub fn received(&self) -> Marks {
        Marks::from_bytes(&client::get(self.address, application::MARKS).unwrap().1)
    }
}
