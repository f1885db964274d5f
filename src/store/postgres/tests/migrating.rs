//! Tables of each version become those of the present one.

use super::*;
use crate::store::postgres::schema;
use crate::store::suite::delivery;

#[tokio::test]
async fn the_tables_are_those_that_the_statements_need() {
    let base = Base::new(None);
    let store = base.store().await;
    let mut lent = store.reading.lend().await.unwrap();
    let shape = schema::shape(&mut lent.session).await.unwrap();
    assert!(schema::is_whole(&shape), "{shape:#?}");
    for missing in 0..shape.len() {
        let mut less = shape.clone();
        less.remove(missing);
        assert!(!schema::is_whole(&less), "{} is not asked for", shape[missing]);
    }
}

#[tokio::test]
async fn a_step_that_fails_leaves_everything_as_it_was() {
    let base = Base::new(None);
    let store = base.store().await;
    store.put(delivery(1)).await.unwrap();
    let mut lent = store.reading.lend().await.unwrap();
    let session = &mut lent.session;
    let before = schema::shape(session).await.unwrap();
    session.begin().await.unwrap();
    let steps =
        [schema::STEPS, &["ALTER TABLE tokens ADD COLUMN note text", "CREATE TABLE tokens (a int)"]].concat();
    let done = schema::migrate(session, schema::version(), &steps).await;
    assert!(session.settled(done).await.is_err());
    assert_eq!(schema::shape(session).await.unwrap(), before);
    assert_eq!(base.count("deliveries"), 1);
}

#[tokio::test]
async fn columns_that_came_later_do_not_disturb() {
    let base = Base::new(None);
    let store = base.store().await;
    base.sql("ALTER TABLE hookkeeper.tokens ADD COLUMN note text NOT NULL DEFAULT 'none'");
    let token = crate::store::KnownToken {
        digest: [1; 32],
        fingerprint: "f".to_owned(),
        minted: crate::store::suite::at(1),
        retired: None,
    };
    store.set_tokens("u", vec![token.clone()]).await.unwrap();
    assert_eq!(base.store().await.tokens("u").await, Ok(vec![token]));
}
