//! What systemd is told, read at the socket that it would have given.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::process::{PATIENCE, Process};
use super::trial::Trial;

struct Socket {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Socket {
    fn bind() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, folder }
    }

    fn start(&self, trial: &Trial, watchdog: Option<Duration>) -> Process {
        let mut program = trial.program();
        program.env("NOTIFY_SOCKET", self.folder.path().join("notify").to_str().unwrap());
        if let Some(watchdog) = watchdog {
            program.env("WATCHDOG_USEC", &watchdog.as_micros().to_string());
        }
        program.spawn()
    }

    fn receive(&self) -> String {
        let mut message = [0; 64];
        let length = self.socket.recv(&mut message).unwrap();
        std::str::from_utf8(&message[..length]).unwrap().trim_end().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_hears_when_the_process_is_ready_and_when_it_ends() {
    let trial = Trial::start(Duration::from_secs(60), 1).await;
    let socket = Socket::bind();
    let sidecar = socket.start(&trial, None);
    assert_eq!(socket.receive(), "READY=1");
    // What systemd then takes as started answers at once that it is.
    assert!(sidecar.get("/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
    assert_eq!(sidecar.stop(), Some(0));
    assert_eq!(socket.receive(), "STOPPING=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_hears_that_the_process_lives_as_often_as_it_has_asked_for() {
    let trial = Trial::start(Duration::from_secs(60), 1).await;
    let socket = Socket::bind();
    let sidecar = socket.start(&trial, Some(Duration::from_millis(200)));
    let mut alive = 0;
    while alive < 3 {
        alive += u32::from(socket.receive() == "WATCHDOG=1");
    }
    assert_eq!(sidecar.stop(), Some(0));
}
