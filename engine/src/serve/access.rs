//! `ACL`: the truth about the one user there is, and `MODULE`: about the modules there are not.

use crate::core::Core;
use crate::hold::Request;
use crate::serve::connection::DEFAULT_USER;
use netio::{ConnId, Kernel};
use shards::command::{COMMANDS_BY_NUMBER, Category, texts};
use shards::number;
use shards::wire::Reply;

/// `ACL WHOAMI`
pub(super) fn whoami<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    Reply::new(out, request.proto).bulk(DEFAULT_USER);
}

/// `ACL USERS`
pub(super) fn users<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, request.proto);
    reply.array(1);
    reply.bulk(DEFAULT_USER);
}

/// `ACL LIST`: that there is a password is told, not which.
pub(super) fn list<K: Kernel>(core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, request.proto);
    let password = if core.executor.settings.password.is_some() { "#(hidden)" } else { "nopass" };
    reply.array(1);
    reply.bulk(format!("user default on {password} ~* &* +@all").as_bytes());
}

/// `ACL GETUSER username`
pub(super) fn getuser<K: Kernel>(core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let mut reply = Reply::new(out, request.proto);
    if request.args().get(2) != DEFAULT_USER {
        return reply.null_array();
    }
    let open = core.executor.settings.password.is_none();
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(1 + usize::from(open));
    reply.bulk(b"on");
    if open {
        reply.bulk(b"nopass");
    }
    reply.bulk(b"passwords");
    reply.array(usize::from(!open));
    if !open {
        reply.bulk(b"(hidden)");
    }
    for (field, value) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"selectors");
    reply.array(0);
}

/// `ACL CAT [category]`
pub(super) fn cat<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    match args.len() {
        2 => {
            reply.array(Category::ALL.len());
            Category::ALL.iter().for_each(|category| reply.bulk(category.name().as_bytes()));
        }
        3 => {
            let Some(category) = Category::named(args.get(2)) else {
                return reply.error_bytes(&[b"ERR Unknown category '", args.get(2), b"'"].concat());
            };
            let names: Vec<&str> = COMMANDS_BY_NUMBER
                .iter()
                .filter(|command| command.subcommands.is_empty() && command.categories_all().has(category))
                .map(|command| command.full_name)
                .collect();
            reply.array(names.len());
            names.iter().for_each(|name| reply.bulk(name.as_bytes()));
        }
        _ => reply.error(texts::SYNTAX),
    }
}

/// `ACL GENPASS [bits]`
pub(super) fn genpass<K: Kernel>(core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let bits = match args.len() {
        2 => Some(256),
        3 => number::parse_i64(args.get(2)),
        _ => return reply.error(texts::SYNTAX),
    };
    let Some(bits) = bits.filter(|bits| (1..=4096).contains(bits)) else {
        return reply.error("ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096");
    };
    let digits = (bits as usize).div_ceil(4);
    let mut text = String::new();
    while text.len() < digits {
        text += &format!("{:016x}", core.kernel.entropy());
    }
    reply.bulk(&text.as_bytes()[..digits]);
}

/// `ACL LOG [count | RESET]`: nothing is forbidden to the one user, so nothing was refused.
pub(super) fn log<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    match args.len() {
        2 => reply.array(0),
        3 if args.get(2).eq_ignore_ascii_case(b"reset") => reply.ok(),
        3 if number::parse_i64(args.get(2)).is_some() => reply.array(0),
        3 => reply.error(texts::NOT_INTEGER),
        _ => reply.error(texts::SYNTAX),
    }
}

/// `MODULE LIST`
pub(super) fn modules<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    Reply::new(out, request.proto).array(0);
}

/// `MODULE LOAD`, `LOADEX`, `UNLOAD`
pub(super) fn no_modules<K: Kernel>(_core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    Reply::new(out, request.proto).error("ERR this server loads no modules");
}
