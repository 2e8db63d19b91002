//! The table: commands on sorted sets.

use crate::command::sorted_sets::{self, algebra, pop, range, walk};
use crate::command::spec::Handler::Shard;
use crate::command::spec::{Category, Command, Flags, KeyAccess, Spread};

/// In alphabetical order.
pub(super) const COMMANDS: &[Command] = &[
    Command::new("zadd", -4, Shard(sorted_sets::zadd))
        .about("sorted-set", "1.2.0", "O(log n) for each member")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RW, KeyAccess::Update])
        .says("key [NX | XX] [GT | LT] [CH] [INCR] (score:double member)...", "Puts members with their scores; on conditions if asked."),
    Command::new("zcard", 2, Shard(sorted_sets::zcard))
        .about("sorted-set", "1.2.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO])
        .says("key", "Tells how many members a sorted set has."),
    Command::new("zcount", 4, Shard(range::zcount))
        .about("sorted-set", "2.0.0", "O(log n)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key min:double max:double", "Counts the members whose scores lie in a range."),
    Command::new("zdiff", -3, Shard(algebra::zdiff))
        .about("sorted-set", "6.2.0", "O(n*k) in the members of the first and the number of keys")
        .flags(&[Flags::READONLY, Flags::MOVABLE_KEYS])
        .categories(&[Category::Sortedset])
        .counted(1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says("numkeys:integer key... [WITHSCORES]", "Answers the members of the first sorted set that no other one has."),
    Command::new("zdiffstore", -4, Shard(algebra::zdiffstore))
        .about("sorted-set", "6.2.0", "O(n*k) in the members of the first and the number of keys")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::MOVABLE_KEYS])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::OW, KeyAccess::Update])
        .counted(2, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says(
            "destination:key numkeys:integer key...",
            "Keeps the members of the first sorted set that no other one has under another key.",
        ),
    Command::new("zincrby", 4, Shard(sorted_sets::zincrby))
        .about("sorted-set", "1.2.0", "O(log n)")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::FAST])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Update])
        .says("key increment member", "Adds to the score of a member; one that is not there counts as 0."),
    Command::new("zinter", -3, Shard(algebra::zinter))
        .about("sorted-set", "6.2.0", "O(n*k) + O(m log m) in the members of the smallest, the number of keys and the members answered")
        .flags(&[Flags::READONLY, Flags::MOVABLE_KEYS])
        .categories(&[Category::Sortedset])
        .counted(1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says(
            "numkeys:integer key... [WEIGHTS weight:integer...] [AGGREGATE (SUM | MIN | MAX)] [WITHSCORES]",
            "Answers the members that all of several sorted sets have.",
        ),
    Command::new("zintercard", -3, Shard(algebra::zintercard))
        .about("sorted-set", "7.0.0", "O(n*k) in the members of the smallest and the number of keys")
        .flags(&[Flags::READONLY, Flags::MOVABLE_KEYS])
        .categories(&[Category::Sortedset])
        .counted(1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says("numkeys:integer key... [LIMIT limit:integer]", "Counts the members that all of several sorted sets have, up to a limit."),
    Command::new("zinterstore", -4, Shard(algebra::zinterstore))
        .about("sorted-set", "2.0.0", "O(n*k) + O(m log m) in the members of the smallest, the number of keys and the members kept")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::MOVABLE_KEYS])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::OW, KeyAccess::Update])
        .counted(2, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says(
            "destination:key numkeys:integer key... [WEIGHTS weight:integer...] [AGGREGATE (SUM | MIN | MAX)]",
            "Keeps the members that all of several sorted sets have under another key.",
        ),
    Command::new("zlexcount", 4, Shard(range::zlexcount))
        .about("sorted-set", "2.8.9", "O(log n)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key min max", "Counts the members in a range of their bytes, if all have one score."),
    Command::new("zmpop", -4, Shard(pop::zmpop))
        .about("sorted-set", "7.0.0", "O(k) + O(m log n) in the number of keys, the members taken and those that were there")
        .flags(&[Flags::WRITE, Flags::MOVABLE_KEYS])
        .categories(&[Category::Sortedset])
        .counted(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Delete])
        .spread(Spread::Borrow)
        .says(
            "numkeys:integer key... (MIN | MAX) [COUNT count]",
            "Takes the lowest or highest members from the first of several sorted sets that is not empty.",
        ),
    Command::new("zmscore", -3, Shard(sorted_sets::zmscore))
        .about("sorted-set", "6.2.0", "O(n) in the members asked for")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key member...", "Tells the scores of several members."),
    Command::new("zpopmax", -2, Shard(pop::zpopmax))
        .about("sorted-set", "5.0.0", "O(m log n) in the members taken and those that were there")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Delete])
        .says("key [count]", "Takes the members with the highest scores."),
    Command::new("zpopmin", -2, Shard(pop::zpopmin))
        .about("sorted-set", "5.0.0", "O(m log n) in the members taken and those that were there")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RW, KeyAccess::Access, KeyAccess::Delete])
        .says("key [count]", "Takes the members with the lowest scores."),
    Command::new("zrandmember", -2, Shard(walk::zrandmember))
        .about("sorted-set", "6.2.0", "O(m log n) in the members answered")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .tips(&["nondeterministic_output"])
        .says("key [count [WITHSCORES]]", "Answers members picked by chance."),
    Command::new("zrange", -4, Shard(range::zrange))
        .about("sorted-set", "1.2.0", "O(log n + m) in the members answered")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says(
            "key start:string stop:string [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
            "Answers the members in a range of places, scores or bytes.",
        ),
    Command::new("zrangebylex", -4, Shard(range::zrangebylex))
        .about("sorted-set", "2.8.9", "O(log n + m) in the members answered")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key min max [LIMIT offset count]", "Answers the members in a range of their bytes, if all have one score."),
    Command::new("zrangebyscore", -4, Shard(range::zrangebyscore))
        .about("sorted-set", "1.0.5", "O(log n + m) in the members answered")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key min:double max:double [WITHSCORES] [LIMIT offset count]", "Answers the members whose scores lie in a range."),
    Command::new("zrangestore", -5, Shard(range::zrangestore))
        .about("sorted-set", "6.2.0", "O(log n + m) in the members kept")
        .flags(&[Flags::WRITE, Flags::DENYOOM])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::OW, KeyAccess::Update])
        .key(2, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says(
            "dst:key src:key min:string max:string [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
            "Keeps the members in a range of a sorted set under another key.",
        ),
    Command::new("zrank", -3, Shard(sorted_sets::zrank))
        .about("sorted-set", "2.0.0", "O(log n)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key member [WITHSCORE]", "Tells a member's place, counted from the lowest score."),
    Command::new("zrem", -3, Shard(sorted_sets::zrem))
        .about("sorted-set", "1.2.0", "O(m log n) in the members removed and those that were there")
        .flags(&[Flags::WRITE, Flags::FAST])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RW, KeyAccess::Delete])
        .says("key member...", "Removes members; the key goes with its last one."),
    Command::new("zremrangebylex", 4, Shard(range::zremrangebylex))
        .about("sorted-set", "2.8.9", "O(m log n) in the members removed and those that were there")
        .flags(&[Flags::WRITE])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RW, KeyAccess::Delete])
        .says("key min max", "Removes the members in a range of their bytes, if all have one score."),
    Command::new("zremrangebyrank", 4, Shard(range::zremrangebyrank))
        .about("sorted-set", "2.0.0", "O(m log n) in the members removed and those that were there")
        .flags(&[Flags::WRITE])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RW, KeyAccess::Delete])
        .says("key start stop:integer", "Removes the members in a range of places."),
    Command::new("zremrangebyscore", 4, Shard(range::zremrangebyscore))
        .about("sorted-set", "1.2.0", "O(m log n) in the members removed and those that were there")
        .flags(&[Flags::WRITE])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RW, KeyAccess::Delete])
        .says("key min:double max:double", "Removes the members whose scores lie in a range."),
    Command::new("zrevrange", -4, Shard(range::zrevrange))
        .about("sorted-set", "1.2.0", "O(log n + m) in the members answered")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key start stop:integer [WITHSCORES]", "Answers the members in a range of places, counted from the highest score."),
    Command::new("zrevrangebylex", -4, Shard(range::zrevrangebylex))
        .about("sorted-set", "2.8.9", "O(log n + m) in the members answered")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key max min [LIMIT offset count]", "Answers the members in a range of their bytes, the last ones first."),
    Command::new("zrevrangebyscore", -4, Shard(range::zrevrangebyscore))
        .about("sorted-set", "2.2.0", "O(log n + m) in the members answered")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says(
            "key max:double min:double [WITHSCORES] [LIMIT offset count]",
            "Answers the members whose scores lie in a range, the highest ones first.",
        ),
    Command::new("zrevrank", -3, Shard(sorted_sets::zrevrank))
        .about("sorted-set", "2.0.0", "O(log n)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key member [WITHSCORE]", "Tells a member's place, counted from the highest score."),
    Command::new("zscan", -3, Shard(walk::zscan))
        .about("sorted-set", "2.8.0", "O(1) for each step, O(n) for all of them")
        .flags(&[Flags::READONLY])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .tips(&["nondeterministic_output"])
        .says("key cursor [MATCH pattern] [COUNT count]", "Walks through the members and their scores in steps."),
    Command::new("zscore", 3, Shard(sorted_sets::zscore))
        .about("sorted-set", "1.2.0", "O(1)")
        .flags(&[Flags::READONLY, Flags::FAST])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::RO, KeyAccess::Access])
        .says("key member", "Tells the score of a member."),
    Command::new("zunion", -3, Shard(algebra::zunion))
        .about("sorted-set", "6.2.0", "O(n log n) in the members of all of them")
        .flags(&[Flags::READONLY, Flags::MOVABLE_KEYS])
        .categories(&[Category::Sortedset])
        .counted(1, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says(
            "numkeys:integer key... [WEIGHTS weight:integer...] [AGGREGATE (SUM | MIN | MAX)] [WITHSCORES]",
            "Answers the members that any of several sorted sets has.",
        ),
    Command::new("zunionstore", -4, Shard(algebra::zunionstore))
        .about("sorted-set", "2.0.0", "O(n log n) in the members of all of them")
        .flags(&[Flags::WRITE, Flags::DENYOOM, Flags::MOVABLE_KEYS])
        .categories(&[Category::Sortedset])
        .key(1, &[KeyAccess::OW, KeyAccess::Update])
        .counted(2, &[KeyAccess::RO, KeyAccess::Access])
        .spread(Spread::Borrow)
        .says(
            "destination:key numkeys:integer key... [WEIGHTS weight:integer...] [AGGREGATE (SUM | MIN | MAX)]",
            "Keeps the members that any of several sorted sets has under another key.",
        ),
];
