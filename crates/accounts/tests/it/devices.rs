use std::time::Duration;

use ruma::{device_id, user_id};
use stoa_accounts::NewDevice;
use stoa_testing::{TestAccounts, both_databases};

use crate::fixture::{actor, device, log_in_from, user};

both_databases! {
    async fn devices_are_listed_and_found(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let long = "ü".repeat(300);
        let names = [
            ("D", Some("Phone"), Some("Phone")),
            ("C", Some("No\0 control\u{7} characters"), Some("No control characters")),
            ("B", Some(long.as_str()), Some(&long[..254])),
            ("A", None, None),
        ];
        for (id, display_name, _) in names {
            let named = NewDevice { display_name, ..device(id) };
            log_in_from(&node.accounts, &alice, named).await.unwrap();
        }
        let listed = node.accounts.devices.list(&alice).await.unwrap();
        let ids: Vec<_> = listed.iter().map(|device| device.device_id.as_str()).collect();
        assert_eq!(ids, ["A", "B", "C", "D"]);
        for (id, _, kept) in names {
            let found = node.accounts.devices.get(&alice, id.into()).await.unwrap().unwrap();
            assert_eq!(found.display_name.as_deref(), kept);
        }

        let unknown = device_id!("E");
        assert!(node.accounts.devices.get(&alice, unknown).await.unwrap().is_none());
        assert!(node.accounts.devices.list(user_id!("@bob:test")).await.unwrap().is_empty());
        let odd = <&ruma::DeviceId>::from("a\0b");
        assert!(node.accounts.devices.get(&alice, odd).await.unwrap().is_none());
    }

    async fn last_seen_times_are_written_every_few_minutes(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let begun = log_in_from(&node.accounts, &alice, device("A")).await.unwrap();
        let session = node.accounts.sessions.find(&begun.tokens.access_token).await.unwrap();
        let seen = async || {
            let found = node.accounts.devices.get(&alice, device_id!("A")).await.unwrap().unwrap();
            found.last_seen_ms.zip(found.last_seen_address)
        };
        assert_eq!(seen().await, None);

        let start_ms = node.node.clock.now_ms();
        node.accounts.sessions.note_seen(&session, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(seen().await, None);
        node.accounts.sessions.flush_last_seen().await.unwrap();
        assert_eq!(seen().await, Some((start_ms, "192.0.2.1".to_owned())));

        // After one minute the time is not written again; after five minutes it is.
        node.clock.advance(Duration::from_mins(1));
        node.accounts.sessions.note_seen(&session, Some("192.0.2.2".parse().unwrap()));
        node.accounts.sessions.flush_last_seen().await.unwrap();
        assert_eq!(seen().await, Some((start_ms, "192.0.2.1".to_owned())));
        node.clock.advance(Duration::from_mins(4));
        node.accounts.sessions.note_seen(&session, Some("2001:db8::1".parse().unwrap()));
        node.accounts.sessions.flush_last_seen().await.unwrap();
        assert_eq!(seen().await, Some((start_ms + 300_000, "2001:db8::1".to_owned())));
    }

    async fn last_seen_is_not_written_for_a_removed_device(db: TestDatabase) {
        let node = TestAccounts::start(db).await;
        let alice = user(&node.accounts, "alice").await;
        let begun = log_in_from(&node.accounts, &alice, device("A")).await.unwrap();
        let session = node.accounts.sessions.find(&begun.tokens.access_token).await.unwrap();
        node.accounts.sessions.note_seen(&session, None);
        let alice_actor = actor(&node.accounts, &begun).await;
        node.accounts.sessions.log_out(&alice_actor).await.unwrap();
        node.accounts.sessions.flush_last_seen().await.unwrap();
        assert!(node.accounts.devices.list(&alice).await.unwrap().is_empty());
    }
}
