//! The rules read no clock, draw nothing at random and do no I/O.

#[test]
fn nothing_here_reads_a_clock_or_does_io() {
    let room = concat!(env!("CARGO_MANIFEST_DIR"), "/src/rotation");
    let mut read = 0;
    for file in std::fs::read_dir(room).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let code = source
            .lines()
            .take_while(|line| *line != "#[cfg(test)]")
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for forbidden in [
                "::now()",
                "Instant",
                "SystemTime",
                "random()",
                "std::fs",
                "std::net",
                "std::env",
                "tokio",
                "async ",
                "tracing",
                "static mut",
                "Mutex",
            ] {
                assert!(!line.contains(forbidden), "{}: {forbidden} in {line}", path.display());
            }
        }
        read += 1;
    }
    assert!(read > 10, "the sources were not found");
}
