//! The table: commands on lists.

use crate::command::lists;
use crate::command::spec::Handler::Shard;
use crate::command::spec::{Category, Command, Flags, KeyAccess, Spread};

/// In alphabetical order.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("lindex", 3, Shard(lists::lindex))
        .about("list", "1.0.0", "O(n) in the distance from the nearer end, a few kilobytes of elements in one step")
        .flags(&[Flags::READONLY])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key index", "Reads the element at a position of a list; negative ones count from the tail."),
    Command::new("linsert", 5, Shard(lists::linsert))
        .about("list", "2.2.0", "O(n) in the elements before the pivot")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RW, KeyAccess::Insert])
        .says("key (BEFORE | AFTER) pivot element", "Puts an element next to the first one that is equal to the pivot."),
    Command::new("llen", 2, Shard(lists::llen))
        .about("list", "1.0.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RO])
        .says("key", "Counts the elements of a list."),
    Command::new("lmove", 5, Shard(lists::lmove))
        .about("list", "6.2.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Delete])
        .key(2, &[KeyAccess::RW, KeyAccess::Insert])
        .spread(Spread::Borrow)
        .says(
            "source:key destination:key (LEFT | RIGHT) (LEFT | RIGHT)",
            "Takes an element from one end of a list and adds it to one end of another, or of the same.",
        ),
    Command::new("lmpop", -4, Shard(lists::lmpop))
        .about("list", "7.0.0", "O(n+m) in the keys and the elements returned")
        .flags(&[Flags::WRITE, Flags::MOVABLE_KEYS])
        .categories(&[Category::List])
        .counted(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Delete])
        .spread(Spread::Borrow)
        .says(
            "numkeys:integer key... (LEFT | RIGHT) [COUNT count]",
            "Takes elements from one end of the first of several lists that has any, and says which one it was.",
        ),
    Command::new("lpop", -2, Shard(lists::lpop))
        .about("list", "1.0.0", "O(n) in the elements returned")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Delete])
        .says("key [count]", "Takes elements from the head of a list."),
    Command::new("lpos", -3, Shard(lists::lpos))
        .about("list", "6.0.6", "O(n) in the elements looked at")
        .flags(&[Flags::READONLY])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key element [RANK rank:integer] [COUNT num-matches:integer] [MAXLEN len:integer]", "Finds where in a list an element is."),
    Command::new("lpush", -3, Shard(lists::lpush))
        .about("list", "1.0.0", "O(n) in the elements added")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RW, KeyAccess::Insert])
        .says("key element...", "Adds elements to the head of a list, one after the other; starts one if there is none."),
    Command::new("lpushx", -3, Shard(lists::lpushx))
        .about("list", "2.2.0", "O(n) in the elements added")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RW, KeyAccess::Insert])
        .says("key element...", "Adds elements to the head of a list, if there is one."),
    Command::new("lrange", 4, Shard(lists::lrange))
        .about("list", "1.0.0", "O(n) in the distance of the first element from the nearer end and in the elements returned")
        .flags(&[Flags::READONLY])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key start stop:integer", "Reads the elements between two positions of a list, the last one included."),
    Command::new("lrem", 4, Shard(lists::lrem))
        .about("list", "1.0.0", "O(n) in the elements of the list")
        .flags(&[Flags::WRITE])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RW, KeyAccess::Delete])
        .says("key count element", "Removes equal elements of a list: so many from the head, from the tail if negative, all if 0."),
    Command::new("lset", 4, Shard(lists::lset))
        .about("list", "1.0.0", "O(n) in the distance from the nearer end")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RW, KeyAccess::Update])
        .says("key index element", "Replaces the element at a position of a list."),
    Command::new("ltrim", 4, Shard(lists::ltrim))
        .about("list", "1.0.0", "O(n) in the nodes of elements removed; these are freed later")
        .flags(&[Flags::WRITE])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RW, KeyAccess::Delete])
        .says("key start stop:integer", "Removes all elements of a list but those between two positions, the last one included."),
    Command::new("rpop", -2, Shard(lists::rpop))
        .about("list", "1.0.0", "O(n) in the elements returned")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Delete])
        .says("key [count]", "Takes elements from the tail of a list."),
    Command::new("rpoplpush", 3, Shard(lists::rpoplpush))
        .about("list", "1.2.0", "O(1)")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Delete])
        .key(2, &[KeyAccess::RW, KeyAccess::Insert])
        .spread(Spread::Borrow)
        .says("source:key destination:key", "Takes the last element of a list and adds it to the head of another. LMOVE does the same."),
    Command::new("rpush", -3, Shard(lists::rpush))
        .about("list", "1.0.0", "O(n) in the elements added")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RW, KeyAccess::Insert])
        .says("key element...", "Adds elements to the tail of a list, one after the other; starts one if there is none."),
    Command::new("rpushx", -3, Shard(lists::rpushx))
        .about("list", "2.2.0", "O(n) in the elements added")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::List])
        .key(1, &[KeyAccess::RW, KeyAccess::Insert])
        .says("key element...", "Adds elements to the tail of a list, if there is one."),
];
