//! The documentation of the read models is what the database's own catalogue says.

use embedded::Postgres;
use kit::{config::Secret, postgres};
use projector::MIGRATIONS;
use sqlx::{Connection, PgConnection, Row};
use std::{fmt::Write as _, fs, path::Path};

const PATH: &str = "docs/reference/read-models.md";

const OPENING: &str = "# Read models

Tables that people, dashboards and the console look at. They hold nothing that is not in the log: they can be
emptied and told again at any time. Names are an interface: columns are added, never renamed.

Every table shows the rows of one tenant only: of the one that the transaction has named.

```sql
begin;
select set_config('app.tenant_id', '<tenant id>', true);
select name, health, since from health_now h join node on node.id = h.node where health <> 'up';
commit;
```

Units are in the names (`_ms`, `_seconds`, `_udeg`, `_percent`, `_count`); `_at` and `since` are points in time.

*Written from the comments in the database by `MASTWATCH_WRITE=1 cargo nextest run -p projector --test reference`.*
";

async fn catalogue() -> String {
    let server = Postgres::start_temporary(|_| {}).await.unwrap();
    let owner = server.superuser_url();
    postgres::migrate(&Secret::new(owner.clone()), &Secret::new(server.url()), &MIGRATIONS).await.unwrap();
    let mut db = PgConnection::connect(&owner).await.unwrap();
    let mut text = OPENING.to_owned();
    let tables = sqlx::query(
        "select c.oid, c.relname::text, obj_description(c.oid, 'pg_class'), c.relkind = 'v' as is_view,
                (select string_agg(a.attname, ', ' order by array_position(i.indkey::int[], a.attnum::int))
                 from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any (i.indkey)
                 where i.indrelid = c.oid and i.indisprimary) as key
         from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v') and c.relname <> '_sqlx_migrations'
         order by c.relname",
    )
    .fetch_all(&mut db)
    .await
    .unwrap();
    for table in tables {
        let name: String = table.get(1);
        let says = table.get::<Option<String>, _>(2).unwrap_or_else(|| panic!("{name} has no comment"));
        writeln!(text, "\n## {name}\n\n{says}\n").unwrap();
        let is_view = table.get::<bool, _>("is_view");
        if !is_view {
            writeln!(text, "Key: `{}`.\n", table.get::<String, _>("key")).unwrap();
        }
        let columns = sqlx::query(
            "select attname::text, format_type(atttypid, atttypmod), not attnotnull, col_description(attrelid, attnum)
             from pg_attribute where attrelid = $1 and attnum > 0 and not attisdropped order by attnum",
        )
        .bind(table.get::<sqlx::postgres::types::Oid, _>(0))
        .fetch_all(&mut db)
        .await
        .unwrap();
        // A view may have the columns of a table, and its comment says so.
        if is_view && columns.iter().all(|column| column.get::<Option<String>, _>(3).is_none()) {
            continue;
        }
        text.push_str("| column | type | may be null | meaning |\n| --- | --- | --- | --- |\n");
        for column in columns {
            let (column_name, kind): (String, String) = (column.get(0), column.get(1));
            let null = if column.get::<bool, _>(2) { "yes" } else { "" };
            let says: Option<String> = column.get(3);
            let says = says.unwrap_or_else(|| panic!("{name}.{column_name} has no comment"));
            writeln!(text, "| `{column_name}` | {kind} | {null} | {} |", says.replace('|', "\\|")).unwrap();
        }
    }
    text
}

#[tokio::test]
async fn the_documented_tables_are_those_of_the_database() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PATH);
    let now = catalogue().await;
    if std::env::var_os("MASTWATCH_WRITE").is_some_and(|v| v == "1") {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &now).unwrap();
    }
    let there = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        there == now,
        "{PATH} differs; `MASTWATCH_WRITE=1 cargo nextest run -p projector --test reference` writes it"
    );
}
