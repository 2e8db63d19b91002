//! What the engine answers itself: words, shapes in both dialects, and that all cores agree.

use simulation::{Recipe, Value, World, check, play};
use std::time::Duration;

#[test]
fn hello_agrees_on_the_dialect() {
    check(
        r#"
        a> HELLO
        = ["server" "redis" "version" "7.4.1" "proto" :2 "id" :… "mode" "standalone" "role" "master" "modules" []]
        a> hello 3 SETNAME me
        = {"server" "redis" "version" "7.4.1" "proto" :3 "id" :… "mode" "standalone" "role" "master" "modules" []}
        a> CLIENT GETNAME
        = "me"
        a> GET nothing
        = null
        a> HELLO 4
        = -NOPROTO unsupported protocol version
        a> HELLO x
        = -ERR Protocol version is not an integer or out of range
        a> HELLO 3 WHAT
        = -ERR Syntax error in HELLO option 'WHAT'
        a> HELLO 2
        = ["server" …
        a> GET nothing
        = nil
        a> RESET
        = +RESET
        a> CLIENT GETNAME
        = nil
        "#,
    );
}

#[test]
fn nobody_gets_in_without_the_password() {
    let recipe = || Recipe::new(9, 3).set("requirepass", "open sesame");
    play(
        &mut World::new(recipe()),
        r#"
        a> GET x
        = -NOAUTH Authentication required.
        a> HELLO 3
        = -NOAUTH HELLO must be called with the client already authenticated, otherwise …
        a> AUTH wrong
        = -WRONGPASS invalid username-password pair or user is disabled.
        a> AUTH somebody "open sesame"
        = -WRONGPASS invalid username-password pair or user is disabled.
        a> PING
        = -NOAUTH Authentication required.
        a> AUTH "open sesame"
        = +OK
        a> PING
        = +PONG
        b> HELLO 3 AUTH default "open sesame" SETNAME me
        = {"server" …
        b> CLIENT GETNAME
        = "me"
        b> RESET
        = +RESET
        b> GET x
        = -NOAUTH Authentication required.
        c> HELLO 3 AUTH default wrong
        = -WRONGPASS invalid username-password pair or user is disabled.
        c> QUIT
        = +OK
        c> PING
        = CLOSED
        "#,
    );
    check(
        "
        a> AUTH pw
        = -ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?
        a> AUTH default pw
        = +OK
        a> AUTH a b c
        = -ERR syntax error
        a> CONFIG SET requirepass pw
        = +OK
        a> PING
        = +PONG
        b> PING
        = -NOAUTH Authentication required.
        ",
    );
}

#[test]
fn databases_are_chosen_by_number() {
    check(
        r#"
        a> SELECT 15
        = +OK
        a> SET k v
        = +OK
        a> SELECT 16
        = -ERR DB index is out of range
        a> SELECT x
        = -ERR value is not an integer or out of range
        b> GET k
        = nil
        b> SELECT 15
        = +OK
        b> GET k
        = "v"
        "#,
    );
}

#[test]
fn every_core_knows_every_client() {
    for seed in 1..5 {
        let mut world = World::new(Recipe::new(seed, 3));
        let mut clients: Vec<_> = (0..9).map(|_| world.client()).collect();
        let ids: Vec<i64> = clients.iter_mut().map(|client| world.ask(client, "CLIENT ID").integer()).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            assert_eq!(world.ask(client, &format!("CLIENT SETNAME c{index}")).to_string(), "+OK");
        }
        let list = world.ask(&mut clients[0], "CLIENT LIST").text();
        assert_eq!(list.lines().count(), 9, "{list}");
        for (index, id) in ids.iter().enumerate() {
            let begin = format!("id={id} addr=");
            let line = list.lines().find(|line| line.starts_with(&begin)).expect("every client is listed");
            assert!(line.contains(&format!(" name=c{index} age=")), "{line}");
        }
        let own = world.ask(&mut clients[3], "CLIENT INFO").text();
        assert!(own.contains(" name=c3 ") && own.contains(" cmd=client|info user=default redir=-1 resp=2 lib-name= lib-ver="), "{own}");
        let two = world.ask(&mut clients[0], &format!("CLIENT LIST ID {} {} 99999", ids[2], ids[5])).text();
        assert_eq!(two.lines().count(), 2);
        assert_eq!(world.ask(&mut clients[0], &format!("CLIENT KILL ID {}", ids[7])).integer(), 1);
        world.closed(&mut clients[7]);
        assert_eq!(world.ask(&mut clients[0], "CLIENT KILL TYPE normal").integer(), 7, "all but the one killed and this one");
        assert_eq!(world.ask(&mut clients[0], "CLIENT KILL TYPE normal SKIPME no").integer(), 1);
        world.closed(&mut clients[0]);
    }
}

#[test]
fn a_client_that_does_not_read_is_closed_when_it_is_killed() {
    let mut world = World::new(Recipe::new(3, 2));
    let (mut a, mut slow) = (world.client(), world.client());
    let id = world.ask(&mut slow, "CLIENT ID").integer();
    world.ask(&mut a, &format!("SET big {}", "x".repeat(100_000)));
    for _ in 0..50 {
        slow.send("GET big");
    }
    world.pass(Duration::from_millis(50));
    assert_eq!(world.ask(&mut a, &format!("CLIENT KILL ID {id}")).integer(), 1);
    world.closed(&mut slow);
    assert_eq!(world.ask(&mut a, "CLIENT LIST").text().lines().count(), 1);
    assert_eq!(world.ask(&mut a, "CLIENT KILL SKIPME no").integer(), 1, "the answer comes before the end");
    world.closed(&mut a);
}

#[test]
fn words_about_clients() {
    check(
        r#"
        a> CLIENT SETNAME "a b"
        = -ERR Client names cannot contain spaces, newlines or special characters.
        a> CLIENT SETINFO lib-name redis-py(x_v1)
        = +OK
        a> CLIENT SETINFO LIB-VER 8.1
        = +OK
        a> CLIENT SETINFO lib-ver "8 1"
        = -ERR lib-ver cannot contain spaces, newlines or special characters.
        a> CLIENT SETINFO color red
        = -ERR Unrecognized option 'color'
        a> CLIENT LIST
        = "id=… lib-name=redis-py(x_v1) lib-ver=8.1 durability=none\n"
        a> CLIENT LIST TYPE replica
        = ""
        a> CLIENT LIST TYPE what
        = -ERR Unknown client type 'what'
        a> CLIENT KILL 1.2.3.4:5
        = -ERR No such client
        a> CLIENT KILL ID 0
        = -ERR client-id should be greater than 0
        a> CLIENT KILL USER nobody
        = -ERR No such user 'nobody'
        a> CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type internal-fqdn
        = +OK
        a> CLIENT TRACKING ON
        = -ERR client tracking is not available on this server; turn client-side caching off
        a> CLIENT TRACKING OFF
        = +OK
        a> CLIENT TRACKINGINFO
        = ["flags" ["off"] "redirect" :-1 "prefixes" []]
        a> CLIENT NO-EVICT maybe
        = -ERR syntax error
        a> CLIENT NO-TOUCH ON
        = +OK
        a> CLIENT NO-EVICT ON
        = +OK
        a> CLIENT INFO
        = "id=… flags=eT …\n"
        a> CLIENT UNBLOCK 5
        = :0
        a> CLIENT
        = -ERR wrong number of arguments for 'client' command
        a> CLIENT WHAT
        = -ERR unknown subcommand 'WHAT'. Try CLIENT HELP.
        a> CLIENT HELP
        = [+CLIENT <subcommand> …]
        a> HELLO 3
        = {…}
        a> CLIENT TRACKINGINFO
        = {"flags" ~["off"] "redirect" :-1 "prefixes" []}
        a> CLIENT LIST
        = =txt:id=…
        "#,
    );
}

#[test]
fn replies_that_are_not_wanted_are_not_sent() {
    check(
        r#"
        a> CLIENT REPLY SKIP
        a> SET k 1
        a> GET k
        = "1"
        a> CLIENT REPLY SKIP
        a> DBSIZE
        a> CLIENT REPLY OFF
        a> GET k
        a> MGET k l m n o
        a> INFO
        a> CLIENT REPLY ON
        = +OK
        a> GET k
        = "1"
        "#,
    );
}

#[test]
fn what_is_used_with_no_touch_goes_on_ageing() {
    for (seed, cores) in [(1, 1), (2, 3), (3, 3)] {
        let mut world = World::new(Recipe::new(seed, cores));
        let (mut quiet, mut other) = (world.client(), world.client());
        world.ask(&mut other, "MSET k:1 1 k:2 2 k:3 3 k:4 4 k:5 5 k:6 6");
        world.pass(Duration::from_secs(20));
        let mut age = |world: &mut World, number: u32| world.ask(&mut other, &format!("OBJECT IDLETIME k:{number}")).integer();
        world.ask(&mut quiet, "CLIENT NO-TOUCH ON");
        for line in ["GET k:1", "GET k:2", "GET k:3", "INCR k:4", "APPEND k:5 x", "MGET k:1 k:2 k:3 k:4 k:5 k:6", "MSET k:1 a k:2 b k:3 c"]
        {
            assert!(!world.ask(&mut quiet, line).to_string().starts_with('-'), "{line}");
        }
        for number in 1..=6 {
            assert!(age(&mut world, number) >= 20, "k:{number} on {cores} cores; seed {seed}");
        }
        assert_eq!(world.ask(&mut quiet, "TOUCH k:1 k:2 k:3").integer(), 3);
        (1..=3).for_each(|number| assert_eq!(age(&mut world, number), 0, "TOUCH says what it does"));
        world.ask(&mut quiet, "CLIENT NO-TOUCH OFF");
        world.ask(&mut quiet, "MGET k:4 k:5 k:6");
        (4..=6).for_each(|number| assert_eq!(age(&mut world, number), 0, "k:{number}"));
    }
}

#[test]
fn who_waits_for_replicas_waits_for_the_timeout_and_holds_up_nobody() {
    for cores in [1, 3] {
        let mut world = World::new(Recipe::new(4, cores));
        let (mut waits, mut other) = (world.client(), world.client());
        let began = world.net.now().monotonic;
        waits.send("WAIT 1 250");
        waits.send("PING");
        world.pass(Duration::from_millis(200));
        waits.pump();
        assert_eq!(waits.take_reply(), None);
        assert_eq!(world.ask(&mut other, "SET k v").to_string(), "+OK");
        assert_eq!(world.reply(&mut waits).to_string(), ":0");
        let ms = world.net.now().monotonic.since(began) / 1_000_000;
        assert!((250..=350).contains(&ms), "answered after {ms} ms");
        assert_eq!(world.reply(&mut waits).to_string(), "+PONG");
        // For ever is until the client goes, or the server.
        waits.send("WAIT 1 0");
        let mut goes = world.client();
        goes.send("WAIT 2 0");
        world.pass(Duration::from_secs(60));
        goes.close();
        world.pass(Duration::from_secs(1));
        assert!(world.ask(&mut other, "INFO clients").text().contains("connected_clients:2\r"));
        other.send("SHUTDOWN");
        assert_eq!(world.reply(&mut waits).to_string(), ":0");
        world.closed(&mut waits);
    }
}

#[test]
fn a_pause_holds_commands_on_keys_on_every_core() {
    for (seed, cores) in [(1, 1), (2, 3), (3, 3)] {
        let mut world = World::new(Recipe::new(seed, cores));
        let (mut a, mut b) = (world.client(), world.client());
        assert_eq!(world.ask(&mut a, "CLIENT PAUSE 1000 WRITE").to_string(), "+OK");
        assert_eq!(world.ask(&mut b, "GET k").to_string(), "nil");
        b.send("SET k v");
        world.pass(Duration::from_millis(500));
        b.pump();
        assert_eq!(b.take_reply(), None, "writes wait");
        assert_eq!(world.ask(&mut a, "CLIENT UNPAUSE").to_string(), "+OK");
        assert_eq!(world.reply(&mut b).to_string(), "+OK");
        assert_eq!(world.ask(&mut a, "CLIENT PAUSE 1000").to_string(), "+OK");
        let before = world.net.now().monotonic;
        assert_eq!(world.ask(&mut b, "GET k").to_string(), "\"v\"", "a pause ends by itself");
        assert!(world.net.now().monotonic.since(before) >= 900_000_000);
    }
}

#[test]
fn settings_change_on_all_cores_or_nowhere() {
    check(
        r#"
        a> CONFIG GET maxclients timeout
        = ["maxclients" "10000" "timeout" "0"]
        a> CONFIG SET timeout 77 slowlog-max-len 5
        = +OK
        b> CONFIG GET Time* slowlog-m?x-len
        = ["slowlog-max-len" "5" "timeout" "77"]
        c> CONFIG SET timeout 78 maxclients 0
        = -ERR CONFIG SET failed (possibly related to argument 'maxclients') - argument must be between 1 and 4294967295 inclusive
        d> CONFIG GET timeout
        = ["timeout" "77"]
        a> CONFIG SET timeout -1
        = -ERR CONFIG SET failed (possibly related to argument 'timeout') - argument must be between 0 and 2147483647 inclusive
        a> CONFIG SET a b c
        = -ERR wrong number of arguments for 'config|set' command
        a> CONFIG SET requirepass "\xff"
        = -ERR CONFIG SET failed (possibly related to argument 'requirepass') - argument must be UTF-8 text
        a> CONFIG SET nothing 1
        = -ERR Unknown option or number of arguments for CONFIG SET - 'nothing'
        a> CONFIG SET requirepass pw
        = +OK
        a> CONFIG GET requirepass
        = ["requirepass" "(hidden)"]
        a> CONFIG REWRITE
        = -ERR The server is running without a config file
        a> HELLO 3
        = {…}
        a> CONFIG GET databases
        = {"databases" "16"}
        a> CONFIG RESETSTAT
        = +OK
        "#,
    );
}

#[test]
fn counts_are_summed_over_cores() {
    for seed in 1..4 {
        let mut world = World::new(Recipe::new(seed, 3));
        let (mut a, mut b) = (world.client(), world.client());
        for number in 0..50 {
            world.ask(&mut a, &format!("SET key:{number} x"));
        }
        world.ask(&mut b, "GET key:1");
        world.ask(&mut b, "GET none");
        world.ask(&mut b, "INCR key:1");
        world.ask(&mut b, "PEXPIRE key:2 100000");
        let info = world.ask(&mut a, "INFO everything").text();
        let field = |name: &str| {
            let begin = format!("{name}:");
            info.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or_else(|| panic!("no {name} in {info}")).to_owned()
        };
        let db = field("db0");
        let left = db.strip_prefix("keys=50,expires=1,avg_ttl=").and_then(|rest| rest.strip_suffix(",subexpiry=0")).expect("one database");
        assert!((90_000..=100_000).contains(&left.parse::<u32>().expect("milliseconds")), "{db}");
        assert_eq!((field("keyspace_hits"), field("keyspace_misses")), ("1".into(), "1".into()));
        assert_eq!(field("connected_clients"), "2");
        assert!(field("cmdstat_set").starts_with("calls=50,usec="), "{}", field("cmdstat_set"));
        assert!(field("cmdstat_incr").ends_with("rejected_calls=0,failed_calls=1"));
        assert_eq!(field("errorstat_ERR"), "count=1");
        assert_eq!(field("rdb_changes_since_last_save"), "51", "an error changed nothing");
        assert_eq!(field("io_backend"), "sim");
        for core in 0..3 {
            assert!(field(&format!("core{core}")).contains(",keys="));
        }
        assert_eq!(world.ask(&mut b, "DBSIZE").integer(), 50);
        world.ask(&mut a, "CONFIG RESETSTAT");
        let info = world.ask(&mut b, "INFO stats commandstats").text();
        assert!(info.contains("keyspace_hits:0\r\n") && !info.contains("cmdstat_set"), "{info}");
    }
}

#[test]
fn slow_requests_of_all_cores_are_in_one_log() {
    for (seed, cores) in [(1, 1), (2, 3)] {
        let mut world = World::new(Recipe::new(seed, cores).set("slowlog-log-slower-than", "0"));
        let mut a = world.client();
        world.ask(&mut a, "CLIENT SETNAME me");
        for number in 0..20 {
            world.ask(&mut a, &format!("SET key:{number} x"));
        }
        world.ask(&mut a, "CONFIG SET requirepass secret");
        let slow = world.ask(&mut a, "SLOWLOG GET 5");
        assert_eq!(slow.parts().len(), 5);
        let all = world.ask(&mut a, "SLOWLOG GET -1");
        assert!(all.parts().len() >= 21, "{all}");
        assert!(all.to_string().contains("\"CONFIG\" \"SET\" \"requirepass\" \"(redacted)\""), "{all}");
        assert!(!all.to_string().contains("secret"));
        let shape = all.parts()[0].parts();
        assert!(matches!(
            shape,
            [Value::Integer(_), Value::Integer(_), Value::Integer(_), Value::Array(_), Value::Bulk(_), Value::Bulk(_)]
        ));
        world.ask(&mut a, "CONFIG SET slowlog-log-slower-than -1");
        world.ask(&mut a, "SLOWLOG RESET");
        assert_eq!(world.ask(&mut a, "SLOWLOG LEN").integer(), 0);
    }
}

#[test]
fn words_about_the_server() {
    check(
        r#"
        a> ECHO hello
        = "hello"
        a> PING
        = +PONG
        a> PING hello
        = "hello"
        a> PING a b
        = -ERR wrong number of arguments for 'ping' command
        a> TIME
        = ["17…" "…"]
        a> ROLE
        = ["master" :0 []]
        a> WAIT 0 0
        = :0
        a> WAIT 1 100
        = :0
        a> WAITAOF 0 1 20
        = [:0 :0]
        a> WAIT 1 -1
        = -ERR timeout is negative
        a> WAITAOF 1 0 0
        = -ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.
        a> WAITAOF 0 0 0
        = [:0 :0]
        a> REPLICAOF no one
        = +OK
        a> REPLICAOF host 6379
        = -ERR this server does not follow another one; …
        a> BGSAVE
        = -ERR nothing can be saved: …
        a> SHUTDOWN ABORT
        = -ERR No shutdown in progress.
        a> SHUTDOWN SAVE NOSAVE
        = -ERR syntax error
        a> DEBUG DIGEST
        = +0000000000000000000000000000000000000000
        a> MODULE LIST
        = []
        a> ACL WHOAMI
        = "default"
        a> ACL LIST
        = ["user default on nopass ~* &* +@all"]
        a> ACL CAT nothing
        = -ERR Unknown category 'nothing'
        a> ACL CAT bitmap
        = ["bitcount" "bitfield" "bitfield_ro" "bitop" "bitpos" "getbit" "setbit"]
        a> SENTINEL masters
        = -ERR unknown command 'SENTINEL', with args beginning with: 'masters' 
        a> COMMAND COUNT
        = :…
        a> COMMAND GETKEYS MSET a 1 b 2
        = ["a" "b"]
        a> COMMAND INFO get
        = [["get" :2 …]]
        a> LATENCY HISTORY command
        = []
        a> LATENCY GRAPH command
        = -ERR No samples available for event 'command'
        a> LATENCY RESET
        = :0
        a> LATENCY LATEST
        = []
        a> MEMORY DOCTOR
        = "Nothing is odd about the memory in use.\n"
        a> MEMORY PURGE
        = +OK
        a> DEBUG SLEEP 0
        = +OK
        a> DEBUG STRINGMATCH-LEN 100 a*a*a*a*b
        = :0
        a> DEBUG OBJECT k
        = -ERR no such key
        a> DEBUG WHAT
        = -ERR unknown subcommand or wrong number of arguments for 'WHAT'. Try DEBUG HELP.
        a> CLUSTER SLOTS
        = -ERR This instance has cluster support disabled
        a> READONLY
        = -ERR This instance has cluster support disabled
        a> LATENCY HISTOGRAM set nothing
        = []
        a> SET k v
        = +OK
        a> DEBUG OBJECT k
        = +Value at:0x0 refcount:1 encoding:embstr serializedlength:2 lru:… lru_seconds_idle:0
        a> LATENCY HISTOGRAM set
        = ["set" ["calls" :1 "histogram_usec" [:… :1]]]
        "#,
    );
}

#[test]
fn debug_is_for_those_who_may() {
    let mut recipe = Recipe::new(8, 2);
    recipe.settings.debug_command = "no".into();
    play(
        &mut World::new(recipe),
        "
        a> DEBUG SLEEP 0
        = -ERR DEBUG command not allowed. …
        ",
    );
}

#[test]
fn a_shutdown_ends_every_core() {
    let mut world = World::new(Recipe::new(5, 3));
    let mut clients: Vec<_> = (0..6).map(|_| world.client()).collect();
    for client in &mut clients {
        world.ask(client, "PING");
    }
    clients[0].send("SHUTDOWN NOSAVE");
    for client in &mut clients {
        world.closed(client);
        assert!(client.take_bytes().is_empty(), "the end is the answer");
    }
}

#[test]
fn those_who_watch_see_every_cores_commands_and_no_secret() {
    for (seed, cores) in [(1, 1), (2, 3), (3, 3)] {
        let mut world = World::new(Recipe::new(seed, cores));
        let (mut watcher, mut a, mut b) = (world.client(), world.client(), world.client());
        assert_eq!(world.ask(&mut watcher, "MONITOR").to_string(), "+OK");
        world.ask(&mut a, "SET k \"a\\nb\"");
        world.ask(&mut b, "SELECT 3");
        world.ask(&mut b, "MGET k l m n");
        world.ask(&mut b, "AUTH default pw");
        world.ask(&mut b, "CONFIG SET requirepass pw2");
        world.ask(&mut b, "HELLO 2 AUTH default pw2");
        let mut lines = Vec::new();
        for _ in 0..5 {
            lines.push(world.reply(&mut watcher).text());
        }
        // Lines of different cores may overtake each other.
        lines.sort_by_key(|line| line.split_once("] ").map(|(_, words)| words.to_owned()));
        let words: Vec<&str> = lines.iter().map(|line| line.split_once("] ").expect("a place and words").1).collect();
        assert_eq!(
            words,
            [
                r#""AUTH" "(redacted)" "(redacted)""#,
                r#""HELLO" "2" "AUTH" "(redacted)" "(redacted)""#,
                r#""MGET" "k" "l" "m" "n""#,
                r#""SELECT" "3""#,
                r#""SET" "k" "a\nb""#,
            ]
        );
        assert!(lines.iter().any(|line| line.contains(" [3 ")), "{lines:?}");
        assert_eq!(world.ask(&mut watcher, "RESET").to_string(), "+RESET");
        world.ask(&mut b, "GET k");
        world.pass(Duration::from_millis(10));
        watcher.pump();
        assert_eq!(watcher.take_reply(), None, "nobody watches any more");
    }
}

#[test]
fn scan_walks_all_cores_and_every_key_once() {
    for (seed, cores) in [(1, 1), (2, 2), (3, 7)] {
        let mut world = World::new(Recipe::new(seed, cores));
        let mut a = world.client();
        let mut expected: Vec<String> = (0..200).map(|number| format!("key:{number}")).collect();
        for key in &expected {
            world.ask(&mut a, &format!("SET {key} x"));
        }
        let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
        loop {
            let step = world.ask(&mut a, &format!("SCAN {cursor} COUNT 20"));
            seen.extend(step.parts()[1].parts().iter().map(Value::text));
            cursor = step.parts()[0].text();
            if cursor == "0" {
                break;
            }
        }
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected, "seed {seed}");
        let mut keys: Vec<String> = world.ask(&mut a, "KEYS *").parts().iter().map(Value::text).collect();
        keys.sort();
        assert_eq!(keys, expected);
        assert!(expected.contains(&world.ask(&mut a, "RANDOMKEY").text()));
        assert_eq!(world.ask(&mut a, "SCAN x").to_string(), "-ERR invalid cursor");
        assert_eq!(world.ask(&mut a, "FLUSHALL").to_string(), "+OK");
        assert_eq!(world.ask(&mut a, "RANDOMKEY").to_string(), "nil");
    }
}

#[test]
fn cores_show_themselves_as_cluster_nodes() {
    let mut world = World::new(Recipe::new(4, 3).with_cluster_ports());
    play(
        &mut world,
        r#"
        a> CLUSTER SLOTS
        = [[:0 :5439 ["10.0.0.1" :7000 "…" []]] [:5440 :10879 ["10.0.0.1" :7001 "…" []]] [:10880 :16383 ["10.0.0.1" :7002 "…" []]]]
        a> CLUSTER KEYSLOT foo
        = :12182
        a> CLUSTER INFO
        = "cluster_state:ok\r\ncluster_slots_assigned:16384\r\n…cluster_known_nodes:3\r\ncluster_size:3\r\n…"
        a> HELLO 3
        = {… "mode" "standalone" …}
        a> CLUSTER SHARDS
        = [{"slots" [:0 :5439] "nodes" [{"id" "…" "port" :7000 "ip" "10.0.0.1" "endpoint" "10.0.0.1" "role" "master" "replication-offset" :0 "health" "online"}]} …]
        a> CLUSTER MEET 1.2.3.4 5
        = -ERR the nodes are the cores of one server and their slots are fixed; this cluster cannot be changed
        a> SET foo bar
        = +OK
        b@0> HELLO 3
        = {… "mode" "cluster" …}
        b@0> GET foo
        = -MOVED 12182 10.0.0.1:7002
        b@0> SELECT 1
        = -ERR SELECT is not allowed in cluster mode
        b@0> MGET foo {foo}2
        = -MOVED 12182 10.0.0.1:7002
        b@0> MGET foo bar
        = -CROSSSLOT Keys in request don't hash to the same slot
        b@0> DBSIZE
        = :0
        c@2> GET foo
        = "bar"
        c@2> DBSIZE
        = :1
        c@2> SCAN 0
        = ["0" ["foo"]]
        c@2> CLUSTER COUNTKEYSINSLOT 12182
        = :1
        b@0> CLUSTER GETKEYSINSLOT 12182 10
        = ["foo"]
        b@0> CLUSTER COUNTKEYSINSLOT 16384
        = -ERR Invalid or out of range slot
        b@0> INFO cluster
        = =txt:# Cluster\r\ncluster_enabled:1\r\n
        "#,
    );
    let mut client = world.client_of_core(1);
    let nodes = world.ask(&mut client, "CLUSTER NODES").text();
    let own = world.ask(&mut client, "CLUSTER MYID").text();
    assert_eq!(nodes.lines().count(), 3);
    let line = nodes.lines().find(|line| line.starts_with(&own)).expect("its own line");
    assert_eq!(line, format!("{own} 10.0.0.1:7001@0 myself,master - 0 0 2 connected 5440-10879"));
    assert_eq!(world.ask(&mut client, &format!("CLUSTER REPLICAS {own}")).to_string(), "[]");
    assert_eq!(world.ask(&mut client, "CLUSTER REPLICAS nobody").to_string(), "-ERR Unknown node nobody");
}

#[test]
fn memory_is_told_by_part() {
    for proto in [2, 3] {
        let mut world = World::new(Recipe::new(6, 2));
        let mut a = world.client();
        world.ask(&mut a, &format!("HELLO {proto}"));
        world.ask(&mut a, "SET k v");
        let stats = world.ask(&mut a, "MEMORY STATS");
        let parts = stats.parts();
        assert_eq!(parts.len() % 2, 0);
        let value = |name: &str| {
            let at = parts.iter().step_by(2).position(|part| part.text() == name).unwrap_or_else(|| panic!("no {name} in {stats}"));
            &parts[at * 2 + 1]
        };
        assert_eq!(value("keys.count").integer(), 1);
        assert_eq!(value("db.0").parts().len(), 4);
        assert_eq!(matches!(value("fragmentation"), Value::Double(_)), proto == 3);
        assert!(world.ask(&mut a, "MEMORY USAGE k").integer() > 0);
        assert!(matches!(world.ask(&mut a, "MEMORY USAGE none"), Value::Null | Value::NullBulk));
    }
}
