//! A server in threads of the test, on a free port. One thread per connection, one store for all.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What a fake answers to a request: its words in, its reply out. `None` hangs up.
pub(crate) type Answer = dyn FnMut(&[Vec<u8>]) -> Option<Vec<u8>> + Send;

/// Starts a RESP server; returns its port. It ends with the test process.
pub(crate) fn resp(answer: impl FnMut(&[Vec<u8>]) -> Option<Vec<u8>> + Send + 'static) -> u16 {
    serve(read_resp, Box::new(answer))
}

/// Starts a memcached server.
pub(crate) fn memcached(answer: impl FnMut(&[Vec<u8>]) -> Option<Vec<u8>> + Send + 'static) -> u16 {
    serve(read_memcached, Box::new(answer))
}

type Reader = fn(&mut BufReader<TcpStream>) -> std::io::Result<Vec<Vec<u8>>>;

fn serve(read: Reader, answer: Box<Answer>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answer = Arc::new(Mutex::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            let answer = answer.clone();
            std::thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut writer = stream.try_clone().unwrap();
                let mut reader = BufReader::new(stream);
                while let Ok(words) = read(&mut reader) {
                    let reply = (answer.lock().unwrap())(&words);
                    match reply {
                        Some(reply) if writer.write_all(&reply).is_ok() => {}
                        _ => {
                            let _ = writer.shutdown(std::net::Shutdown::Both);
                            return;
                        }
                    }
                }
            });
        }
    });
    port
}

fn read_resp(reader: &mut BufReader<TcpStream>) -> std::io::Result<Vec<Vec<u8>>> {
    let count = number(&line(reader)?);
    (0..count)
        .map(|_| {
            let length = number(&line(reader)?);
            let mut word = vec![0; length + 2];
            reader.read_exact(&mut word)?;
            word.truncate(length);
            Ok(word)
        })
        .collect()
}

/// The words of the line; a `set` has its payload as one word more.
fn read_memcached(reader: &mut BufReader<TcpStream>) -> std::io::Result<Vec<Vec<u8>>> {
    let line = line(reader)?;
    let mut words: Vec<Vec<u8>> = line.split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect();
    if words[0] == b"set" {
        let length: usize = String::from_utf8_lossy(&words[4]).parse().unwrap();
        let mut payload = vec![0; length + 2];
        reader.read_exact(&mut payload)?;
        payload.truncate(length);
        words.push(payload);
    }
    Ok(words)
}

fn line(reader: &mut BufReader<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    if reader.read_until(b'\n', &mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.len() - 2);
    Ok(line)
}

fn number(line: &[u8]) -> usize {
    String::from_utf8_lossy(&line[1..]).parse().unwrap()
}

/// Redis, as far as the generator uses it.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) values: HashMap<Vec<u8>, Vec<u8>>,
    pub(crate) expiring: u64,
    pub(crate) verbs: HashMap<String, u64>,
}

impl Store {
    pub(crate) fn resp(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        let verb = String::from_utf8_lossy(&words[0]).into_owned();
        *self.verbs.entry(verb.clone()).or_default() += 1;
        match verb.as_str() {
            "SET" => {
                self.expiring += u64::from(words.len() > 3);
                self.values.insert(words[1].clone(), words[2].clone());
                b"+OK\r\n".to_vec()
            }
            "MSET" => {
                for pair in words[1..].chunks(2) {
                    self.values.insert(pair[0].clone(), pair[1].clone());
                }
                b"+OK\r\n".to_vec()
            }
            "GET" => bulk(self.values.get(&words[1])),
            "MGET" => {
                let mut reply = format!("*{}\r\n", words.len() - 1).into_bytes();
                for key in &words[1..] {
                    reply.extend(bulk(self.values.get(key)));
                }
                reply
            }
            "DEL" => format!(":{}\r\n", u8::from(self.values.remove(&words[1]).is_some())).into_bytes(),
            "EXISTS" => format!(":{}\r\n", u8::from(self.values.contains_key(&words[1]))).into_bytes(),
            "INCR" | "PEXPIRE" | "PTTL" => b":1\r\n".to_vec(),
            "PING" => b"+PONG\r\n".to_vec(),
            "HELLO" => b"%1\r\n$5\r\nproto\r\n:3\r\n".to_vec(),
            "AUTH" if words.last().unwrap() != b"right" => b"-WRONGPASS no\r\n".to_vec(),
            "AUTH" | "SELECT" => b"+OK\r\n".to_vec(),
            "INFO" => bulk(Some(&b"# Server\r\nredis_version:9.9.9\r\nused_cpu_sys:1.5\r\nused_cpu_user:2.5\r\n".to_vec())),
            _ => b"-ERR unknown command\r\n".to_vec(),
        }
    }

    pub(crate) fn memcached(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        let verb = String::from_utf8_lossy(&words[0]).into_owned();
        *self.verbs.entry(verb.clone()).or_default() += 1;
        match verb.as_str() {
            "set" => {
                self.expiring += u64::from(words[3] != b"0");
                self.values.insert(words[1].clone(), words[5].clone());
                b"STORED\r\n".to_vec()
            }
            "get" => {
                let mut reply = Vec::new();
                for key in &words[1..] {
                    if let Some(value) = self.values.get(key) {
                        reply.extend(format!("VALUE {} 0 {}\r\n", String::from_utf8_lossy(key), value.len()).into_bytes());
                        reply.extend(value);
                        reply.extend(b"\r\n");
                    }
                }
                reply.extend(b"END\r\n");
                reply
            }
            "delete" => if self.values.remove(&words[1]).is_some() { &b"DELETED\r\n"[..] } else { b"NOT_FOUND\r\n" }.to_vec(),
            "incr" => b"7\r\n".to_vec(),
            "touch" => b"TOUCHED\r\n".to_vec(),
            "version" => b"VERSION 9.9.9\r\n".to_vec(),
            "stats" => b"STAT version 9.9.9\r\nSTAT rusage_user 1.0\r\nSTAT rusage_system 1.0\r\nEND\r\n".to_vec(),
            _ => b"ERROR\r\n".to_vec(),
        }
    }
}

fn bulk(value: Option<&Vec<u8>>) -> Vec<u8> {
    match value {
        None => b"$-1\r\n".to_vec(),
        Some(value) => [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat(),
    }
}

/// A store behind a RESP server, and a handle on it.
pub(crate) fn resp_store() -> (u16, Arc<Mutex<Store>>) {
    let store = Arc::new(Mutex::new(Store::default()));
    let inside = store.clone();
    (resp(move |words| Some(inside.lock().unwrap().resp(words))), store)
}
