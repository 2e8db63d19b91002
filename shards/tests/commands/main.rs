//! Every command of a shard, by what it answers.
//!
//! The cases are data: `scripts/*.script`, requests with the replies they must get, and models for what is best said of all
//! inputs at once.

mod any_words; // every command with words it does not expect
mod bits; // bit commands and ranges against one bit at a time
mod lists; // list commands against a deque, whatever form a list has
mod ranking; // sorted sets against a map, from few members to many
mod replay; // a log of what commands did gives the same data again
mod scan; // what SCAN promises while keys come and go
mod script; // the scripts, and the one function that plays them

#[test]
fn strings() {
    script::check(include_str!("scripts/strings.script"));
}

#[test]
fn set_options() {
    script::check(include_str!("scripts/set.script"));
}

#[test]
fn counters() {
    script::check(include_str!("scripts/counters.script"));
}

#[test]
fn expiry() {
    script::check(include_str!("scripts/expire.script"));
}

#[test]
fn keys() {
    script::check(include_str!("scripts/keys.script"));
}

#[test]
fn bit_commands() {
    script::check(include_str!("scripts/bits.script"));
}

#[test]
fn bit_fields() {
    script::check(include_str!("scripts/bitfield.script"));
}

#[test]
fn what_others_added() {
    script::check(include_str!("scripts/compare.script"));
}

#[test]
fn scanning() {
    script::check(include_str!("scripts/scan.script"));
}

#[test]
fn looking_from_outside() {
    script::check(include_str!("scripts/object.script"));
}

#[test]
fn dump_and_restore() {
    script::check(include_str!("scripts/dump.script"));
}

#[test]
fn lists() {
    script::check(include_str!("scripts/lists.script"));
}

#[test]
fn lcs() {
    script::check(include_str!("scripts/lcs.script"));
}

#[test]
fn hashes() {
    script::check(include_str!("scripts/hashes.script"));
}

#[test]
fn sets() {
    script::check(include_str!("scripts/sets.script"));
}

#[test]
fn sorted_sets() {
    script::check(include_str!("scripts/sorted_sets.script"));
}

#[test]
fn places_on_the_earth() {
    script::check(include_str!("scripts/geo.script"));
}
