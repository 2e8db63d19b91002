//! The promises of `netio::Kernel`, asked of every backend with the same words.
//!
//! Cases are written once against [`world::World`]: a kernel, and clients that talk to it. Waiting is
//! always a bounded number of turns, never a sleep.

mod cases;
mod disk;
mod files;
mod machine;
mod simulated;
mod sockets;
mod world;

macro_rules! suite {
    ($name:ident, $world:expr) => {
        mod $name {
            use crate::{cases, files};

            #[test]
            fn echoes_in_order() {
                cases::echoes_in_order($world);
            }
            #[test]
            fn big_rests_leave_whole() {
                cases::big_rests_leave_whole($world);
            }
            #[test]
            fn paused_connections_push_back() {
                cases::paused_connections_push_back($world);
            }
            #[test]
            fn close_returns_the_rest() {
                cases::close_returns_the_rest($world);
            }
            #[test]
            fn close_ends_the_peer_and_the_name() {
                cases::close_ends_the_peer_and_the_name($world);
            }
            #[test]
            fn half_closed_peers_get_their_answer() {
                cases::half_closed_peers_get_their_answer($world);
            }
            #[test]
            fn many_connections() {
                cases::many_connections($world);
            }
            #[test]
            fn empty_pool_stops_receiving_until_release() {
                cases::empty_pool_stops_receiving_until_release($world);
            }
            #[test]
            fn wakes_arrive() {
                cases::wakes_arrive($world);
            }
            #[test]
            fn peers_that_vanish_are_ended_or_gone() {
                cases::peers_that_vanish_are_ended_or_gone($world);
            }
            #[test]
            fn stops_listening_and_keeps_connections() {
                cases::stops_listening_and_keeps_connections($world);
            }
            #[test]
            fn events_of_a_turn_are_bounded() {
                cases::events_of_a_turn_are_bounded($world);
            }
            #[test]
            fn what_is_written_is_read_back() {
                files::what_is_written_is_read_back($world);
            }
            #[test]
            fn a_file_is_made_once_and_found_again() {
                files::a_file_is_made_once_and_found_again($world);
            }
            #[test]
            fn names_move_and_go() {
                files::names_move_and_go($world);
            }
            #[test]
            fn failures_name_step_and_file() {
                files::failures_name_step_and_file($world);
            }
            #[test]
            fn a_lock_excludes_until_its_kernel_is_gone() {
                files::a_lock_excludes_until_its_kernel_is_gone($world);
            }
            #[test]
            fn closed_names_are_dead_and_their_requests_finish() {
                files::closed_names_are_dead_and_their_requests_finish($world);
            }
            #[test]
            fn many_requests_are_all_answered_once() {
                files::many_requests_are_all_answered_once($world);
            }
        }
    };
}

suite!(uring, crate::machine::uring());
suite!(uring_oneshot, crate::machine::uring_plain());
suite!(epoll, crate::machine::epoll());
suite!(sim_seed_1, crate::simulated::simulated(1));
suite!(sim_seed_2, crate::simulated::simulated(2));
