//! The other cores of this process: lanes to and from them, and who must be woken.

use crate::lane::{Receiver, Sender, lane};
use crate::parcel::{Item, PARCELS_IN_FLIGHT_MAX, Parcel};
use crate::placement::{CoreId, Placement};
use netio::{Kernel, Wake};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Parcels kept for reuse.
const SPARE_MAX: usize = 64;

/// Which of the two kinds of lanes; see [`crate::parcel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Work for the other core.
    Ask,
    /// The end of work it gave us.
    Answer,
}

/// One core's view of the others.
pub struct Peers<W: Wake> {
    me: CoreId,
    links: Vec<Link<W>>,
    sleeping: Arc<[Sleeping]>,
    asleep: bool,
    spare: Vec<Parcel>,
}

/// Whether a core may be waiting in its kernel. Written by that core, read by those who send to it.
#[repr(align(128))]
struct Sleeping(AtomicBool);

struct Link<W: Wake> {
    core: CoreId,
    /// Set once every kernel exists.
    waker: Option<W>,
    asks_out: Sender<Parcel>,
    asks_in: Receiver<Parcel>,
    answers_out: Sender<Parcel>,
    answers_in: Receiver<Parcel>,
    /// Being filled in this turn.
    asks: Parcel,
    answers: Parcel,
    wake: bool,
}

impl<W: Wake> Peers<W> {
    /// The views of all cores, in their order.
    pub fn all(placement: Placement) -> Vec<Peers<W>> {
        let sleeping: Arc<[Sleeping]> = placement.cores().map(|_| Sleeping(AtomicBool::new(false))).collect();
        let mut views: Vec<Peers<W>> = placement
            .cores()
            .map(|me| Peers { me, links: Vec::new(), sleeping: sleeping.clone(), asleep: false, spare: Vec::new() })
            .collect();
        for a in 0..views.len() {
            for b in a + 1..views.len() {
                let (asks_ab, asks_ab_in) = lane(PARCELS_IN_FLIGHT_MAX);
                let (asks_ba, asks_ba_in) = lane(PARCELS_IN_FLIGHT_MAX);
                let (answers_ab, answers_ab_in) = lane(PARCELS_IN_FLIGHT_MAX);
                let (answers_ba, answers_ba_in) = lane(PARCELS_IN_FLIGHT_MAX);
                let link = |core: usize, asks_out, asks_in, answers_out, answers_in| Link {
                    core: CoreId(core as u16),
                    waker: None,
                    asks_out,
                    asks_in,
                    answers_out,
                    answers_in,
                    asks: Parcel::default(),
                    answers: Parcel::default(),
                    wake: false,
                };
                views[a].links.push(link(b, asks_ab, asks_ba_in, answers_ab, answers_ba_in));
                views[b].links.push(link(a, asks_ba, asks_ab_in, answers_ba, answers_ab_in));
            }
        }
        for view in &mut views {
            view.links.sort_by_key(|link| link.core);
        }
        views
    }

    /// Gives the handles that wake the cores, in their order.
    pub fn set_wakers(&mut self, wakers: &[W]) {
        for link in &mut self.links {
            link.waker = Some(wakers[usize::from(link.core.0)].clone());
        }
    }

    /// Every other core.
    pub fn others(&self) -> impl Iterator<Item = CoreId> + use<W> {
        self.links.iter().map(|link| link.core).collect::<Vec<_>>().into_iter()
    }

    /// The parcel that will leave for `core` at the end of this turn.
    ///
    /// # Panics
    /// If `core` is this one.
    #[inline]
    pub fn outbox(&mut self, core: CoreId, way: Way) -> &mut Parcel {
        let link = self.link(core);
        match way {
            Way::Ask => &mut link.asks,
            Way::Answer => &mut link.answers,
        }
    }

    /// Puts one message for `core`.
    pub fn put(&mut self, core: CoreId, way: Way, item: Item) {
        self.outbox(core, way).put(item);
    }

    /// Whether nothing more should be asked of `core` for now: the parcel for it is full and the lane has no room.
    #[inline]
    pub fn is_congested(&mut self, core: CoreId) -> bool {
        let link = self.link(core);
        link.asks.is_heavy() && link.asks_out.is_full()
    }

    /// Whether that is so for any core.
    pub fn any_congested(&mut self) -> bool {
        self.links.iter_mut().any(|link| link.asks.is_heavy() && link.asks_out.is_full())
    }

    /// Whether what is put for `core` leaves at the end of this turn.
    pub fn has_room(&mut self, core: CoreId) -> bool {
        !self.link(core).asks_out.is_full()
    }

    /// The next parcel of answers, and who sent it.
    pub fn next_answers(&mut self) -> Option<(CoreId, Parcel)> {
        self.links.iter_mut().find_map(|link| Some((link.core, link.answers_in.receive()?)))
    }

    /// The next parcel of requests, and who sent it; only from cores that can take the answers.
    pub fn next_asks(&mut self) -> Option<(CoreId, Parcel)> {
        self.links.iter_mut().find_map(|link| {
            if link.answers.is_heavy() {
                link.publish(Way::Answer, &mut self.spare);
            }
            if link.answers.is_heavy() { None } else { Some((link.core, link.asks_in.receive()?)) }
        })
    }

    /// Takes a parcel back for reuse.
    pub fn recycle(&mut self, parcel: Parcel, items: Vec<Item>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(parcel.recycle(items));
        }
    }

    /// Sends everything put in this turn, and wakes those who may sleep.
    pub fn publish<K: Kernel<Waker = W>>(&mut self, kernel: &mut K) {
        let mut sent = false;
        for link in &mut self.links {
            sent |= link.publish(Way::Answer, &mut self.spare);
            sent |= link.publish(Way::Ask, &mut self.spare);
        }
        if !sent {
            return;
        }
        // Pairs with the fence in `may_sleep`: either we see that the core sleeps, or it sees what we sent.
        fence(Ordering::SeqCst);
        for link in &mut self.links {
            if std::mem::take(&mut link.wake) && self.sleeping[usize::from(link.core.0)].0.load(Ordering::Relaxed) {
                kernel.wake(link.waker.as_ref().expect("wakers are set before the first turn"));
            }
        }
    }

    /// Announces that this core is about to wait. `false` if something has arrived meanwhile: then it must not.
    pub fn may_sleep(&mut self) -> bool {
        if self.links.is_empty() {
            return true;
        }
        self.asleep = true;
        self.sleeping[usize::from(self.me.0)].0.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.has_work() {
            self.awake();
            return false;
        }
        true
    }

    /// This core turns again.
    #[inline]
    pub fn awake(&mut self) {
        if std::mem::take(&mut self.asleep) {
            self.sleeping[usize::from(self.me.0)].0.store(false, Ordering::Relaxed);
        }
    }

    /// Whether a lane holds something that can be taken, or a parcel waits for room.
    pub fn has_work(&mut self) -> bool {
        self.links
            .iter_mut()
            .any(|link| !link.answers_in.is_empty() || !link.asks_in.is_empty() || !link.asks.is_empty() || !link.answers.is_empty())
    }

    /// Bytes of parcels being filled or kept.
    pub fn memory_bytes(&self) -> usize {
        self.links.iter().map(|link| link.asks.memory_bytes() + link.answers.memory_bytes()).sum::<usize>()
            + self.spare.iter().map(Parcel::memory_bytes).sum::<usize>()
    }

    fn link(&mut self, core: CoreId) -> &mut Link<W> {
        assert_ne!(core, self.me, "a core does not send to itself");
        let index = usize::from(core.0) - usize::from(core > self.me);
        &mut self.links[index]
    }
}

impl<W: Wake> Link<W> {
    /// Sends the parcel being filled, if there is one and the lane has room. Whether it was sent.
    fn publish(&mut self, way: Way, spare: &mut Vec<Parcel>) -> bool {
        let (parcel, lane) = match way {
            Way::Ask => (&mut self.asks, &mut self.asks_out),
            Way::Answer => (&mut self.answers, &mut self.answers_out),
        };
        if parcel.is_empty() || lane.is_full() {
            return false;
        }
        let full = std::mem::replace(parcel, spare.pop().unwrap_or_default());
        assert!(lane.send(full).is_ok(), "just seen that it has room");
        self.wake = true;
        true
    }
}
