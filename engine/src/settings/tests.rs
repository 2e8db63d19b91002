//! What can be set, in and out again.

use super::*;

fn set(name: &str, value: &str) -> Result<Settings, String> {
    Settings::default().changed(&[(name.into(), value.into())])
}

#[test]
fn every_live_setting_takes_back_what_it_shows() {
    let settings = Settings { memory_bytes_max: 1 << 30, ..Settings::default() };
    for setting in SETTINGS {
        if let Some(set) = setting.set {
            let shown = (setting.get)(&settings);
            let mut again = settings.clone();
            set(&mut again, &shown).unwrap_or_else(|why| panic!("{} = {shown}: {why}", setting.name));
            assert_eq!((setting.get)(&again), shown, "{}", setting.name);
        }
    }
}

#[test]
fn settings_are_sorted_and_named_once() {
    let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).chain(INERT.iter().map(|(name, _)| *name)).collect();
    for name in &names {
        assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name}");
    }
    assert!(SETTINGS.is_sorted_by_key(|setting| setting.name));
    assert!(INERT.is_sorted_by_key(|(name, _)| *name));
}

#[test]
fn a_change_is_all_or_nothing_and_says_what_was_wrong() {
    let error = Settings::default().changed(&[("timeout".into(), "5".into()), ("maxclients".into(), "0".into())]).unwrap_err();
    assert!(error.contains("'maxclients'"), "{error}");
    assert!(set("port", "1").unwrap_err().contains("immutable"));
    assert!(set("no-such", "1").unwrap_err().contains("Unknown option"));
    assert_eq!(set("maxmemory", "100mb").expect("valid").memory_bytes_max, 100 << 20);
    assert_eq!(parse_bytes("1g"), Ok(1_000_000_000));
    assert!(parse_bytes("1x").is_err());
    assert!(parse_bytes("99999999999999999999").is_err());
}

#[test]
fn a_rewritten_file_keeps_what_it_does_not_know() {
    let before = "# ours\nport = 7000\nmaxclients = 5 # few\nslowlog_max_len = 1\n";
    let settings = Settings::default()
        .changed(&[("maxclients", "77"), ("timeout", "9"), ("requirepass", "pw")].map(|(name, value)| (name.into(), value.into())))
        .expect("valid");
    let after = settings.rewritten(before).expect("whole lines");
    let expected = "# ours\nport = 7000\nmaxclients = \"77\"\nslowlog-max-len = \"128\"\ntimeout = \"9\"\n";
    assert_eq!(after, expected);
    assert_eq!(settings.rewritten(&after).expect("whole lines"), expected, "twice changes nothing");
    assert!(settings.rewritten("timeout = \"\"\"\n5\"\"\"\n").is_err());
}

#[test]
fn secrets_are_compared_whole_and_never_printed() {
    let secret = Secret::new(b"open sesame");
    assert!(secret.matches(b"open sesame"));
    for wrong in [&b"open sesam"[..], b"", b"open sesame2", b"Open sesame"] {
        assert!(!secret.matches(wrong));
    }
    let settings = set("requirepass", "open sesame").expect("valid");
    assert!(!format!("{settings:?}").contains("sesame"));
    assert!(settings.pairs().all(|(_, value)| !value.contains("sesame")));
}
