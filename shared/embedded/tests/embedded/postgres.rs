//! The private Postgres, as a real one.

use embedded::{Postgres, PostgresOptions, StartError};
use sqlx::{Connection, PgConnection};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}

async fn run(connection: &mut PgConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(connection).await.unwrap();
}

async fn number(connection: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_is_there_after_a_kill_and_a_stop_on_the_same_address() {
    let postgres = Postgres::start_temporary(|_| {}).await.unwrap();
    let (url, pid) = (postgres.url(), postgres.pid().unwrap());
    let mut session = connect(&url).await;
    run(&mut session, "CREATE TABLE t (n bigint); INSERT INTO t VALUES (1)").await;
    assert!(embedded::tree(pid).len() > 3, "the sessions and helpers descend from the postmaster");
    assert!(embedded::pss_bytes(pid).unwrap() > 1024 * 1024);
    assert!(embedded::cpu_time(pid).unwrap() < Duration::from_secs(60));

    postgres.kill();
    assert!(embedded::tree(pid).is_empty());
    assert!(sqlx::raw_sql("SELECT 1").execute(&mut session).await.is_err());
    postgres.ended().await;
    postgres.restart().await.unwrap();
    assert_eq!(postgres.url(), url);
    let mut session = connect(&url).await;
    assert_eq!(number(&mut session, "SELECT n FROM t").await, 1);

    let begun = Instant::now();
    postgres.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(20), "an open session must not hold up the end");
    postgres.restart().await.unwrap();
    let mut session = connect(&url).await;
    assert_eq!(number(&mut session, "SELECT count(*) FROM t").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_postgres_answers_nobody_until_it_is_thawed() {
    let postgres = Postgres::start_temporary(|_| {}).await.unwrap();
    let mut session = connect(&postgres.url()).await;
    postgres.freeze().unwrap();
    let mut asked = Box::pin(number(&mut session, "SELECT 7::bigint"));
    assert!(tokio::time::timeout(Duration::from_millis(500), &mut asked).await.is_err());
    let new = tokio::time::timeout(Duration::from_millis(500), PgConnection::connect(&postgres.url())).await;
    assert!(new.is_err());
    postgres.thaw().unwrap();
    assert_eq!(asked.await, 7);
    // Dropped while frozen: it must still go.
    let pid = postgres.pid().unwrap();
    postgres.freeze().unwrap();
    drop(postgres);
    assert!(embedded::tree(pid).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_services_role_is_nobody_special_and_passwords_are_needed_and_private() {
    let postgres = Postgres::start_temporary(|_| {}).await.unwrap();
    let mut service = connect(&postgres.url()).await;
    let special = "SELECT count(*) FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls)";
    assert_eq!(number(&mut service, special).await, 0);
    run(&mut service, "CREATE SCHEMA own; CREATE TABLE t (n bigint)").await;
    let mut superuser = connect(&postgres.superuser_url()).await;
    assert_eq!(number(&mut superuser, special).await, 1);

    let port = postgres.port();
    let socket = postgres.socket_dir().unwrap();
    for bad in [
        format!("postgres://mastwatch@127.0.0.1:{port}/mastwatch"),
        format!("postgres://mastwatch:guess@127.0.0.1:{port}/mastwatch"),
        format!("postgres://postgres@localhost:{port}/mastwatch?host={}", socket.display()),
    ] {
        let error = PgConnection::connect(&bad).await.unwrap_err().to_string();
        assert!(error.contains("password"), "{bad}: {error}");
    }
    let password = fs::read_to_string(postgres.dir().join("password")).unwrap();
    let by_socket =
        format!("postgres://mastwatch:{password}@localhost:{port}/mastwatch?host={}", socket.display());
    assert_eq!(number(&mut connect(&by_socket).await, "SELECT 1::bigint").await, 1);

    for name in ["password", "superuser-password"] {
        let mode = fs::metadata(postgres.dir().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let settings = "SELECT count(*) FROM pg_settings WHERE (name, setting) IN \
                    (('jit', 'off'), ('fsync', 'off'), ('TimeZone', 'UTC'), ('server_encoding', 'UTF8'))";
    assert_eq!(number(&mut service, settings).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_keeps_its_data_and_leftovers_of_a_crash_do_not_stop_a_start() {
    let dir = tempfile::tempdir().unwrap();
    // As root in a container Postgres may have to run as nobody, who must get through.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let options = || PostgresOptions { fsync: false, ..PostgresOptions::new(dir.path().join("pg")) };
    let first = Postgres::start(options()).await.unwrap();
    run(&mut connect(&first.url()).await, "CREATE TABLE t (n bigint)").await;
    let refused = Postgres::start(options()).await.unwrap_err();
    assert!(matches!(refused, StartError::InUse { pid, .. } if pid == std::process::id()), "{refused}");
    first.kill();
    drop(first);

    // A number that belongs to somebody else by now: this test itself.
    let stale = dir.path().join("pg/data/postmaster.pid");
    let text = fs::read_to_string(&stale).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&stale, format!("{}\n{rest}", std::process::id())).unwrap();
    fs::create_dir_all(dir.path().join("pg/data.part")).unwrap();
    let second = Postgres::start(options()).await.unwrap();
    assert_eq!(number(&mut connect(&second.url()).await, "SELECT count(*) FROM t").await, 0);
    second.stop().await;
    drop(second);

    fs::write(dir.path().join("pg/data/PG_VERSION"), "12\n").unwrap();
    let error = Postgres::start(options()).await.unwrap_err().to_string();
    assert!(error.contains("holds data of Postgres 12") && error.contains("MASTWATCH_PG_BIN_DIR"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_does_not_exist_is_an_error_that_quotes_the_server() {
    let wrong = |options: &mut PostgresOptions| options.settings = vec![("no_such".into(), "1".into())];
    let error = Postgres::start_temporary(wrong).await.unwrap_err();
    assert!(error.to_string().contains("no_such"), "{error}");
}
