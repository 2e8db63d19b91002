//! The table: commands on places on the earth.

use crate::command::geo::{self, search};
use crate::command::spec::Handler::Shard;
use crate::command::spec::{Category, Command, Flags, KeyAccess, Spread};

/// In alphabetical order.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("geoadd", -5, Shard(geo::geoadd))
        .about("geo", "3.2.0", "O(log n) for each member")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::Geo])
        .key(1, &[KeyAccess::RW, KeyAccess::Update])
        .says("key [NX | XX] [CH] (longitude:double latitude:double member)...", "Puts members at places on the earth."),
    Command::new("geodist", -4, Shard(geo::geodist))
        .about("geo", "3.2.0", "O(1)")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Geo])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key member1 member2 [M | KM | FT | MI]", "Tells how far two members are from each other."),
    Command::new("geohash", -2, Shard(geo::geohash))
        .about("geo", "3.2.0", "O(n) in the members asked for")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Geo])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key [member...]", "Tells the geohashes of members."),
    Command::new("geopos", -2, Shard(geo::geopos))
        .about("geo", "3.2.0", "O(n) in the members asked for")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Geo])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key [member...]", "Tells where members are."),
    Command::new("georadius", -6, Shard(search::georadius))
        .about("geo", "3.2.0", "O(n + log m) in the members near the circle and all of them")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::MOVABLE_KEYS])
        .categories(&[Category::Geo])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .announced(&["STORE", "STOREDIST"], 6, &[KeyAccess::OW, KeyAccess::Update])
        .spread(Spread::Borrow)
        .says(
            "key longitude:double latitude:double radius:double (M | KM | FT | MI) [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT \
             count [ANY]] [ASC | DESC] [STORE storekey:key | STOREDIST storedistkey:key]",
            "Answers the members within a distance of a place, or keeps them under another key. GEOSEARCH does the same.",
        ),
    Command::new("georadius_ro", -6, Shard(search::georadius_ro))
        .about("geo", "3.2.10", "O(n + log m) in the members near the circle and all of them")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Geo])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says(
            "key longitude:double latitude:double radius:double (M | KM | FT | MI) [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT \
             count [ANY]] [ASC | DESC]",
            "Answers the members within a distance of a place. GEOSEARCH does the same.",
        ),
    Command::new("georadiusbymember", -5, Shard(search::georadiusbymember))
        .about("geo", "3.2.0", "O(n + log m) in the members near the circle and all of them")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::MOVABLE_KEYS])
        .categories(&[Category::Geo])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .announced(&["STORE", "STOREDIST"], 5, &[KeyAccess::OW, KeyAccess::Update])
        .spread(Spread::Borrow)
        .says(
            "key member radius:double (M | KM | FT | MI) [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC] \
             [STORE storekey:key | STOREDIST storedistkey:key]",
            "Answers the members within a distance of another one, or keeps them under another key. GEOSEARCH does the \
             same.",
        ),
    Command::new("georadiusbymember_ro", -5, Shard(search::georadiusbymember_ro))
        .about("geo", "3.2.10", "O(n + log m) in the members near the circle and all of them")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Geo])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says(
            "key member radius:double (M | KM | FT | MI) [WITHCOORD] [WITHDIST] [WITHHASH] [COUNT count [ANY]] [ASC | DESC]",
            "Answers the members within a distance of another one. GEOSEARCH does the same.",
        ),
    Command::new("geosearch", -7, Shard(search::geosearch))
        .about("geo", "6.2.0", "O(n + log m) in the members near the shape and all of them")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Geo])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says(
            "key (FROMMEMBER member | FROMLONLAT longitude:double latitude:double) (BYRADIUS radius:double (M | KM | FT | \
             MI) | BYBOX width:double height:double (M | KM | FT | MI)) [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] \
             [WITHDIST] [WITHHASH]",
            "Answers the members in a circle or a box around a place or a member.",
        ),
    Command::new("geosearchstore", -8, Shard(search::geosearchstore))
        .about("geo", "6.2.0", "O(n + log m) in the members near the shape and all of them")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::Geo])
        .key(1, &[KeyAccess::OW, KeyAccess::Update])
        .key(2, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says(
            "destination:key source:key (FROMMEMBER member | FROMLONLAT longitude:double latitude:double) (BYRADIUS \
             radius:double (M | KM | FT | MI) | BYBOX width:double height:double (M | KM | FT | MI)) [ASC | DESC] [COUNT \
             count [ANY]] [STOREDIST]",
            "Keeps the members in a circle or a box around a place or a member under another key.",
        ),
];
