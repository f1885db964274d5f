//! What is refused when a store is opened, and that nothing is changed by it.

use super::*;

fn tables(base: &Base<'_>) -> String {
    base.sql("SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT LIKE 'pg_%' AND schemaname <> 'information_schema' ORDER BY 1, 2")
}

#[tokio::test]
async fn a_schema_of_somebody_else_is_left_alone() {
    for made in ["CREATE TABLE hookkeeper.notes (a int)", "CREATE TABLE hookkeeper.store (version int)"] {
        let base = Base::new(None);
        base.sql(&format!("CREATE SCHEMA hookkeeper AUTHORIZATION {ROLE}; {made}"));
        base.sql(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA hookkeeper TO {ROLE}"));
        let before = tables(&base);
        let error = base.refused(base.options()).await;
        assert!(matches!(error, PostgresError::Foreign { .. }), "{error}");
        assert_eq!(tables(&base), before);
    }
}

#[tokio::test]
async fn a_newer_store_is_left_alone() {
    let base = Base::new(None);
    drop(base.store().await);
    base.sql("UPDATE hookkeeper.store SET version = 99");
    let error = base.refused(base.options()).await;
    assert!(matches!(error, PostgresError::Newer { found: 99, .. }), "{error}");
    assert_eq!(base.sql("SELECT version FROM hookkeeper.store"), "99");
}

#[tokio::test]
async fn tables_that_are_not_whole_are_refused() {
    let base = Base::new(None);
    drop(base.store().await);
    base.sql("DROP TABLE hookkeeper.standstills");
    let error = base.refused(base.options()).await;
    assert!(matches!(error, PostgresError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn a_role_that_may_make_nothing_is_told_what_it_needs() {
    let base = Base::new(None);
    base.sql(&format!("ALTER DATABASE {} OWNER TO postgres", base.name));
    let error = base.refused(base.options()).await;
    assert!(matches!(error, PostgresError::NoPermission { .. }), "{error}");
    assert!(error.to_string().contains("CREATE SCHEMA hookkeeper"), "{error}");
    // A schema that was made for it is enough.
    base.sql(&format!("CREATE SCHEMA hookkeeper AUTHORIZATION {ROLE}"));
    base.store().await;
}

#[tokio::test]
async fn who_cannot_log_in_is_told_which_file_to_look_at() {
    let base = Base::new(None);
    std::fs::write(base.file("password"), "wrong-canary").unwrap();
    let error = base.refused(base.options()).await;
    assert!(matches!(error, PostgresError::Login { .. }), "{error}");
    assert!(!error.to_string().contains("canary"), "{error}");
    std::fs::write(base.file("password"), PASSWORD).unwrap();
    std::fs::write(base.file("user"), "nobody-here").unwrap();
    assert!(matches!(base.refused(base.options()).await, PostgresError::Login { .. }));
    let no_file = PostgresOptions { password_file: Some(base.file("missing")), ..base.options() };
    let error = base.refused(no_file).await.to_string();
    assert!(error.contains("--database-password-file") && error.contains("missing"), "{error}");
    let nobody = PostgresOptions { user_file: None, ..base.options() };
    assert!(matches!(base.refused(nobody).await, PostgresError::NoUser { .. }));
    std::fs::write(base.file("user"), ROLE).unwrap();
    let missing = PostgresOptions {
        database: base.server.address("no_such_database").parse().unwrap(),
        ..base.options()
    };
    assert!(matches!(base.refused(missing).await, PostgresError::Missing { .. }));
    let nowhere = PostgresOptions { database: "127.0.0.1:1/gate".parse().unwrap(), ..base.options() };
    assert!(matches!(base.refused(nowhere).await, PostgresError::Away { .. }));
    // No TLS is spoken there.
    let tls = DatabaseTls::VerifyFull { issuers: None };
    let error = base.refused(PostgresOptions { tls, ..base.options() }).await;
    assert!(matches!(error, PostgresError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_may_lose_what_it_has_committed_is_refused() {
    for (setting, named) in [("fsync=off", "fsync"), ("full_page_writes=off", "full_page_writes")] {
        let server = Server::start(&[setting]);
        let base = Base::on(&server, None);
        let error = base.refused(base.options()).await;
        assert!(matches!(&error, PostgresError::Setting { setting, .. } if *setting == named), "{error}");
        assert_eq!(tables(&base), "");
    }
}

#[tokio::test]
async fn a_commit_waits_for_the_disk_whatever_the_server_is_set_to() {
    let base = Base::new(None);
    for value in ["off", "local", "remote_write"] {
        base.sql(&format!("ALTER DATABASE {} SET synchronous_commit TO {value}", base.name));
        let store = base.store().await;
        let mut lent = store.reading.lend().await.unwrap();
        let row = lent.session.query_opt("SHOW synchronous_commit", &[]).await.unwrap().unwrap();
        assert_eq!(row.get::<_, &str>(0), "on", "{value}");
    }
}

/// A certificate for this name, and its key, written where the server looks for them. Who signed it: itself.
fn certificate(folder: &std::path::Path, name: &str) -> String {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    std::fs::write(folder.join("server.crt"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("server.key"), made.signing_key.serialize_pem()).unwrap();
    let private = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
    std::fs::set_permissions(folder.join("server.key"), private).unwrap();
    made.cert.pem()
}

#[tokio::test]
async fn tls_is_to_the_right_host_with_the_right_authority() {
    let mut authority = String::new();
    let server = Server::start_with(&["ssl=on"], |data| authority = certificate(data, "localhost"));
    let base = Base::on(&server, None);
    std::fs::write(base.file("ca.pem"), &authority).unwrap();
    let issued_by = |file: &str| DatabaseTls::VerifyFull { issuers: Some(base.file(file)) };
    let by_name: Database = format!("localhost:{}/{}", server.port, base.name).parse().unwrap();
    let options =
        || PostgresOptions { database: by_name.clone(), tls: issued_by("ca.pem"), ..base.options() };
    let store = PostgresStore::open(options()).await.unwrap();
    let encrypted = base.sql(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE ssl AND application_name = 'hookkeeper' AND datname = current_database()",
    );
    assert_eq!(encrypted, "1");
    drop(store);

    // The certificate is for a name, and this is its address.
    let by_address = PostgresOptions { database: base.options().database, ..options() };
    let wrong_host = base.refused(by_address).await;
    assert!(matches!(wrong_host, PostgresError::Tls { .. }), "{wrong_host}");
    let other = tempfile::tempdir().unwrap();
    std::fs::write(base.file("other.pem"), certificate(other.path(), "localhost")).unwrap();
    for file in ["other.pem", "none"] {
        let tls = if file == "none" { DatabaseTls::VerifyFull { issuers: None } } else { issued_by(file) };
        let error = base.refused(PostgresOptions { tls, ..options() }).await;
        assert!(matches!(error, PostgresError::Tls { .. }), "{file}: {error}");
        assert!(error.to_string().contains("--database-ca-file"), "{error}");
    }
    std::fs::write(base.file("text.pem"), "no certificate").unwrap();
    let error = base.refused(PostgresOptions { tls: issued_by("text.pem"), ..options() }).await.to_string();
    assert!(error.contains("--database-ca-file") && error.contains("text.pem"), "{error}");
}
