//! What only real sockets can show: places in use, files of Unix sockets, options, descriptors that run out,
//! containers that forbid io_uring.

use crate::machine::{Machine, epoll, uring};
use crate::world::{World, one_connection, send_all, take, turn_until};
use netio::{Backend, Choice, Event, Kernel, Listen, Options, Sent, Wait};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;

macro_rules! both {
    ($($case:ident),* $(,)?) => {
        mod on_uring {
            $(#[test] fn $case() { super::$case(super::uring()); })*
        }
        mod on_epoll {
            $(#[test] fn $case() { super::$case(super::epoll()); })*
        }
    };
}

both!(
    ports_of_others_are_refused,
    cores_share_a_port,
    unix_sockets_are_shared_and_cleaned_up,
    unix_paths_of_others_are_left_alone,
    accepted_sockets_inherit_their_options,
    descriptors_run_out_and_come_back,
    nothing_is_leaked,
);

fn ports_of_others_are_refused<K: Kernel>(mut world: Machine<K>) {
    // A socket that this crate does not know of is as good as another process'.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = other.local_addr().unwrap();
    let mut kernel = world.open(Options::default());
    let refused = kernel.listen(&Listen::Tcp(at)).unwrap_err();
    assert_eq!(refused.cause.kind(), ErrorKind::AddrInUse);
    assert!(refused.to_string().starts_with(&format!("cannot bind on {at}: ")), "{refused}");
    drop(other);
    kernel.listen(&Listen::Tcp(at)).unwrap();
    // And ours is in use for others, whatever they ask for.
    assert_eq!(TcpListener::bind(at).unwrap_err().kind(), ErrorKind::AddrInUse);
}

fn cores_share_a_port<K: Kernel>(mut world: Machine<K>) {
    let (mut first, mut second) = (world.open(Options::default()), world.open(Options::default()));
    let listener = first.listen(&Listen::Tcp(world.address())).unwrap();
    let at = first.listener_addr(listener).unwrap();
    second.listen(&Listen::Tcp(at)).unwrap();
    let _clients: Vec<_> = (0..64).map(|_| world.connect(at)).collect();
    let mut accepted = [0, 0];
    for _ in 0..crate::world::TURNS_MAX {
        for (kernel, count) in [&mut first, &mut second].into_iter().zip(&mut accepted) {
            let mut events = Vec::new();
            kernel.turn(Wait::AtMost(std::time::Duration::from_millis(1)), &mut events).unwrap();
            *count += events.len();
        }
        if accepted.iter().sum::<usize>() == 64 {
            break;
        }
    }
    assert_eq!(accepted.iter().sum::<usize>(), 64);
    assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
}

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("netio-{name}-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn unix_sockets_are_shared_and_cleaned_up<K: Kernel>(mut world: Machine<K>) {
    let folder = folder("shared");
    let path = folder.join("socket");
    // A file that a killed predecessor left behind.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (mut first, mut second) = (world.open(Options::default()), world.open(Options::default()));
    let listener = first.listen(&Listen::Unix { path: path.clone(), mode: Some(0o750) }).unwrap();
    second.listen(&Listen::Unix { path: folder.join(".").join("socket"), mode: None }).unwrap();
    assert_eq!(first.listener_addr(listener), None);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o750);
    // Either core may accept; the first does not, so the second has to.
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"hello").unwrap();
    let mut answered = false;
    for _ in 0..crate::world::TURNS_MAX {
        for kernel in [&mut first, &mut second] {
            let mut events = Vec::new();
            kernel.turn(Wait::AtMost(std::time::Duration::from_millis(1)), &mut events).unwrap();
            for event in events {
                if let Event::Received { conn, buffer } = event {
                    let bytes = take(kernel, buffer);
                    assert_eq!((kernel.peer_addr(conn), kernel.local_addr(conn)), (None, None));
                    assert_eq!(kernel.send(conn, &bytes), Sent::All);
                    answered = true;
                }
            }
        }
        if answered {
            break;
        }
    }
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    let settle = |kernel: &mut K| {
        kernel.stop_listening();
        for _ in 0..5 {
            kernel.turn(Wait::AtMost(std::time::Duration::from_millis(1)), &mut Vec::new()).unwrap();
        }
    };
    settle(&mut first);
    assert!(path.exists(), "the second still listens");
    UnixStream::connect(&path).unwrap();
    settle(&mut second);
    assert!(!path.exists(), "nobody listens any more");
    std::fs::remove_dir(&folder).unwrap();
}

fn unix_paths_of_others_are_left_alone<K: Kernel>(mut world: Machine<K>) {
    let folder = folder("others");
    let mut kernel = world.open(Options::default());
    let live = folder.join("live");
    let other = UnixListener::bind(&live).unwrap();
    let refused = kernel.listen(&Listen::Unix { path: live.clone(), mode: None }).unwrap_err();
    assert_eq!(refused.cause.kind(), ErrorKind::AddrInUse);
    assert!(refused.to_string().contains("another process listens"), "{refused}");
    UnixStream::connect(&live).unwrap();
    drop(other);
    let file = folder.join("file");
    std::fs::write(&file, "precious").unwrap();
    let refused = kernel.listen(&Listen::Unix { path: file.clone(), mode: None }).unwrap_err();
    assert_eq!(refused.cause.kind(), ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    let nowhere = kernel.listen(&Listen::Unix { path: folder.join("no").join("where"), mode: None }).unwrap_err();
    assert_eq!(nowhere.cause.kind(), ErrorKind::NotFound);
    let long = kernel.listen(&Listen::Unix { path: folder.join("x".repeat(200)), mode: None }).unwrap_err();
    assert_eq!(long.cause.kind(), ErrorKind::InvalidInput);
    std::fs::remove_dir_all(&folder).unwrap();
}

fn accepted_sockets_inherit_their_options<K: Kernel>(mut world: Machine<K>) {
    let mut kernel = world.open(Options::default());
    let (client, conn, listener) = one_connection(&mut world, &mut kernel);
    let fd = kernel.descriptor(conn);
    let option = |level, name| {
        let (mut value, mut bytes) = (0, size_of::<libc::c_int>() as libc::socklen_t);
        // SAFETY: both pointers are valid for writing, and `bytes` is the size of `value`.
        let done = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut bytes) };
        assert_eq!(done, 0);
        value
    };
    assert_eq!(option(libc::IPPROTO_TCP, libc::TCP_NODELAY), 1);
    assert_eq!(option(libc::SOL_SOCKET, libc::SO_KEEPALIVE), 1);
    assert_eq!(option(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE), 300);
    assert_eq!(kernel.peer_addr(conn), client.local_addr().ok());
    assert_eq!(kernel.local_addr(conn), kernel.listener_addr(listener));
}

/// Runs the calling test again in a process of its own, where it may change what belongs to the whole process.
/// True in that process.
fn in_own_process() -> bool {
    const MARK: &str = "NETIO_TEST_IN_OWN_PROCESS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let name = std::thread::current().name().expect("tests run in threads of their name").to_owned();
    let own = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture", "--test-threads=1"])
        .env(MARK, "")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&own.stdout).into_owned() + &String::from_utf8_lossy(&own.stderr);
    assert!(own.status.success() && told.contains("1 passed"), "{told}");
    false
}

fn descriptors_open() -> Vec<usize> {
    let mut open: Vec<usize> =
        std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    open.sort_unstable();
    open
}

/// Opens descriptors until the process has only `left` more.
fn use_up_descriptors(left: u64) -> Vec<File> {
    let limit = libc::rlimit { rlim_cur: 300, rlim_max: 300 };
    // SAFETY: `limit` outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    let mut ballast: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    ballast.truncate(ballast.len() - left as usize);
    ballast
}

fn descriptors_run_out_and_come_back<K: Kernel>(mut world: Machine<K>) {
    const CLIENTS: usize = 40;
    if !in_own_process() {
        return;
    }
    // The limit counts from the moment that accepting is asked for, so it is set before.
    drop(use_up_descriptors(1));
    let mut kernel = world.open(Options::default());
    let (mut first, first_conn, listener) = one_connection(&mut world, &mut kernel);
    let at = kernel.listener_addr(listener).unwrap();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| world.connect(at)).collect();
    let ballast = use_up_descriptors(5);
    let mut accepted = Vec::new();
    let mut events = Vec::new();
    // Some are accepted, then none, and those that are here are served meanwhile.
    for round in 0..20u8 {
        first.write_all(&[round]).unwrap();
        let mut echoed = false;
        for _ in 0..crate::world::TURNS_MAX {
            kernel.turn(Wait::Forever, &mut events).unwrap();
            for event in events.drain(..) {
                match event {
                    Event::Accepted { conn, .. } => accepted.push(conn),
                    Event::Received { conn, buffer } => {
                        assert_eq!(conn, first_conn);
                        assert_eq!(take(&mut kernel, buffer), [round]);
                        echoed = true;
                    }
                    other => panic!("unexpected {other:?}"),
                }
            }
            if echoed {
                break;
            }
        }
        assert!(echoed);
    }
    assert!((1..CLIENTS / 2).contains(&accepted.len()), "{} accepted", accepted.len());
    // Descriptors are there again: nobody was lost.
    drop(ballast);
    turn_until(&mut world, &mut kernel, "all are accepted", |_, _, event| {
        if let Some(Event::Accepted { conn, .. }) = event {
            accepted.push(conn);
        }
        accepted.len() == CLIENTS
    });
    for conn in &accepted {
        send_all(&mut kernel, *conn, b"!");
    }
    for client in &mut clients {
        client.set_nonblocking(false).unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
}

fn nothing_is_leaked<K: Kernel>(mut world: Machine<K>) {
    if !in_own_process() {
        return;
    }
    let before = descriptors_open();
    for round in 0..20 {
        let mut kernel = world.open(Options::default());
        let (client, conn, listener) = one_connection(&mut world, &mut kernel);
        let at = kernel.listener_addr(listener).unwrap();
        // Ends of every kind: a rest under way, paused, unread bytes, not yet accepted.
        let reply = vec![7; <Machine<K> as World>::FLOOD_BYTES];
        if let Sent::Part { taken_bytes } = kernel.send(conn, &reply) {
            kernel.send_rest(conn, reply, taken_bytes);
        }
        let mut more: Vec<TcpStream> = (0..5).map(|_| world.connect(at)).collect();
        let mut conns = Vec::new();
        turn_until(&mut world, &mut kernel, "accept", |_, kernel, event| {
            if let Some(Event::Accepted { conn, .. }) = event {
                conns.push(conn);
                kernel.pause_receive(conn);
            }
            conns.len() == 5
        });
        more[0].write_all(b"unread").unwrap();
        kernel.close(conns[1]);
        if round % 2 == 0 {
            kernel.close(conn);
            kernel.stop_listening();
            kernel.turn(Wait::Poll, &mut Vec::new()).unwrap();
        }
        let waiting = TcpStream::connect(at);
        drop(kernel);
        drop((client, more, waiting));
    }
    assert_eq!(descriptors_open(), before);
}

#[test]
fn containers_that_forbid_io_uring_get_epoll_and_one_sentence() {
    assert_eq!(netio::choose(Choice::Epoll).unwrap(), Backend::Epoll { stepped_down: None });
    // A filter belongs to one thread, and so does the choice of this one.
    let forbidden = std::thread::spawn(|| {
        forbid(libc::SYS_io_uring_setup);
        let refused = netio::choose(Choice::Uring).unwrap_err();
        (netio::choose(Choice::Auto).unwrap(), refused)
    });
    let (chosen, refused) = forbidden.join().unwrap();
    let Backend::Epoll { stepped_down: Some(sentence) } = chosen else { panic!("{chosen:?} was chosen") };
    assert!(sentence.contains("seccomp") && sentence.contains("allow io_uring_setup"), "{sentence}");
    assert_eq!(refused.to_string(), sentence);
    assert_eq!(refused.cause.raw_os_error(), Some(libc::EPERM));
    let mut kernel = netio::Epoll::open(Options::default(), Some(sentence.clone())).unwrap();
    assert_eq!(kernel.facts().stepped_down.as_ref(), Some(&sentence));
    kernel.listen(&Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
}

/// Makes one system call fail with EPERM in the calling thread, as container profiles do.
fn forbid(call: libc::c_long) {
    let step = |code: u32, yes: u8, no: u8, value: u32| libc::sock_filter { code: code as u16, jt: yes, jf: no, k: value };
    let mut steps = [
        // The number of the call is the first word of what the filter sees.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the program and its steps outlive the call, which copies them.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
    }
}
