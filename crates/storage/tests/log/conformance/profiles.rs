use stoa_storage::repo::profiles;
use stoa_testing::both_databases;

use super::{UNUSUAL, alice, bob, long_text, refused};

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect()
}

both_databases! {
    async fn nothing(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        assert_eq!(profiles::fields(&mut conn, alice()).await.unwrap(), []);
        assert_eq!(profiles::field(&mut conn, alice(), "a").await.unwrap(), None);
        profiles::delete(&mut conn, alice(), "a").await.unwrap();
    }

    async fn fields_come_by_name_and_belong_to_one_user(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        for (field, value) in [("b", "1"), ("a", "2"), ("B", "3"), ("ä", "4"), ("a", "5")] {
            profiles::set(&mut conn, alice(), field, value).await.unwrap();
        }
        profiles::set(&mut conn, bob(), "a", "6").await.unwrap();
        let found = profiles::fields(&mut conn, alice()).await.unwrap();
        assert_eq!(found, pairs(&[("B", "3"), ("a", "5"), ("b", "1"), ("ä", "4")]));
        let found = profiles::field(&mut conn, alice(), "a").await.unwrap();
        assert_eq!(found.as_deref(), Some("5"));
        profiles::delete(&mut conn, alice(), "a").await.unwrap();
        assert_eq!(profiles::field(&mut conn, alice(), "a").await.unwrap(), None);
        assert_eq!(profiles::fields(&mut conn, bob()).await.unwrap(), pairs(&[("a", "6")]));
    }

    async fn unusual_texts(db: TestDatabase) {
        let store = db.store().await;
        let mut conn = store.write().await.unwrap();
        let long = long_text();
        for text in UNUSUAL {
            for value in [text, &long] {
                profiles::set(&mut conn, alice(), text, value).await.unwrap();
                let found = profiles::field(&mut conn, alice(), text).await.unwrap();
                assert_eq!(found.as_deref(), Some(value));
            }
        }
        let fields = profiles::fields(&mut conn, alice()).await.unwrap();
        let mut names = UNUSUAL;
        names.sort_unstable();
        assert_eq!(fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
        refused(profiles::set(&mut conn, alice(), "a\0b", "1").await);
        refused(profiles::set(&mut conn, alice(), "a", "a\0b").await);
        refused(profiles::field(&mut conn, alice(), "a\0b").await);
        refused(profiles::delete(&mut conn, alice(), "a\0b").await);
    }
}
