//! The few connections that everything sent to one server shares.
//!
//! A browser gives a server six over HTTP/1.1, and a seventh request waits unseen behind the others. So
//! we keep to fewer, and choose ourselves who is next: what the user looks at, then the rest in turn.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use futures::channel::oneshot;

/// Connections to one server, unless the caller says otherwise: two of a browser's six stay the page's.
pub const CONNECTIONS: usize = 4;

/// So many may be let in before their turn, one after the other, while others wait.
const FAVOURS: u32 = 3;

/// Who asks for a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// The user looks at this channel: it goes first.
    pub is_visible: bool,
    /// A request that waits for something to happen: one connection is always left for work.
    pub is_line: bool,
}

/// See the module's page.
pub struct Slots {
    limit: Cell<usize>,
    used: Cell<usize>,
    lines: Cell<usize>,
    favours: Cell<u32>,
    waiting: RefCell<Vec<(Claim, oneshot::Sender<Permit>)>>,
}

/// A connection. Dropping it gives it back.
pub struct Permit {
    slots: Rc<Slots>,
    is_line: bool,
}

impl Slots {
    /// With so many connections, one at least.
    pub fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            limit: Cell::new(limit.max(1)),
            used: Cell::new(0),
            lines: Cell::new(0),
            favours: Cell::new(0),
            waiting: RefCell::default(),
        })
    }

    /// Allows so many from now on. What is under way goes on.
    pub fn set_limit(self: &Rc<Self>, limit: usize) {
        self.limit.set(limit.max(1));
        self.let_in();
    }

    /// How many requests may wait at once for something to happen. None where there is one connection.
    pub fn lines(&self) -> usize {
        self.limit.get() - 1
    }

    /// A connection as soon as it is this one's turn. Dropping the future gives up the claim.
    pub async fn acquire(self: &Rc<Self>, claim: Claim) -> Permit {
        let (grant, granted) = oneshot::channel();
        self.waiting.borrow_mut().push((claim, grant));
        self.let_in();
        match granted.await {
            Ok(permit) => permit,
            // Never: a claim leaves the list with its permit only.
            Err(_) => self.permit(claim),
        }
    }

    fn permit(self: &Rc<Self>, claim: Claim) -> Permit {
        self.used.set(self.used.get() + 1);
        self.lines.set(self.lines.get() + usize::from(claim.is_line));
        Permit { slots: self.clone(), is_line: claim.is_line }
    }

    fn let_in(self: &Rc<Self>) {
        while let Some((claim, grant)) = self.next() {
            // One who left meanwhile gives it back by not taking it.
            let _ = grant.send(self.permit(claim));
        }
    }

    /// Whose turn it is, if there is a connection for them.
    fn next(&self) -> Option<(Claim, oneshot::Sender<Permit>)> {
        if self.used.get() >= self.limit.get() {
            return None;
        }
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|(_, grant)| !grant.is_canceled());
        let has_line = self.lines.get() < self.lines().max(1);
        let mut may = waiting.iter().enumerate().filter(|(_, (claim, _))| has_line || !claim.is_line);
        let (oldest, (claim, _)) = may.next()?;
        let favoured = if claim.is_visible { None } else { may.find(|(_, (claim, _))| claim.is_visible) };
        let at = match favoured {
            Some((at, _)) if self.favours.get() < FAVOURS => {
                self.favours.set(self.favours.get() + 1);
                at
            }
            _ => {
                self.favours.set(0);
                oldest
            }
        };
        Some(waiting.remove(at))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let slots = &self.slots;
        slots.used.set(slots.used.get() - 1);
        slots.lines.set(slots.lines.get() - usize::from(self.is_line));
        slots.let_in();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{FutureExt, future::LocalBoxFuture};

    const WORK: Claim = Claim { is_visible: false, is_line: false };
    const SEEN: Claim = Claim { is_visible: true, is_line: false };
    const LINE: Claim = Claim { is_visible: false, is_line: true };

    fn claim(slots: &Rc<Slots>, claim: Claim) -> LocalBoxFuture<'static, Permit> {
        let slots = slots.clone();
        let mut future = async move { slots.acquire(claim).await }.boxed_local();
        assert!(future.as_mut().now_or_never().is_none(), "has to wait");
        future
    }

    fn have(slots: &Rc<Slots>, claim: Claim) -> Permit {
        slots.acquire(claim).now_or_never().expect("a free connection")
    }

    #[test]
    fn no_more_than_the_limit_and_in_turn() {
        let slots = Slots::new(2);
        let (a, b) = (have(&slots, WORK), have(&slots, WORK));
        let (mut c, mut d) = (claim(&slots, WORK), claim(&slots, WORK));
        drop(a);
        let c = c.as_mut().now_or_never().expect("the first that waits");
        assert!(d.as_mut().now_or_never().is_none());
        drop(b);
        let d = d.as_mut().now_or_never().unwrap();
        drop((c, d));
        assert_eq!((slots.used.get(), slots.lines.get()), (0, 0));
    }

    #[test]
    fn who_leaves_gives_up_the_claim_and_a_permit_that_came_unseen() {
        let slots = Slots::new(1);
        let a = have(&slots, WORK);
        let (b, mut c) = (claim(&slots, WORK), claim(&slots, WORK));
        drop(b);
        drop(a);
        assert!(c.as_mut().now_or_never().is_some());
        let (a, b) = (have(&slots, WORK), claim(&slots, WORK));
        drop(a);
        // It has been granted and nobody has looked.
        assert_eq!(slots.used.get(), 1);
        drop(b);
        assert_eq!(slots.used.get(), 0);
    }

    #[test]
    fn lines_leave_one_connection_for_work() {
        let slots = Slots::new(3);
        let lines = [have(&slots, LINE), have(&slots, LINE)];
        let mut third = claim(&slots, LINE);
        let work = have(&slots, WORK);
        drop(work);
        assert!(third.as_mut().now_or_never().is_none());
        drop(lines);
        assert!(third.as_mut().now_or_never().is_some());
        // With a single connection it has to serve both, in turn.
        let slots = Slots::new(1);
        let line = have(&slots, LINE);
        let mut work = claim(&slots, WORK);
        drop(line);
        assert!(work.as_mut().now_or_never().is_some());
    }

    #[test]
    fn the_visible_go_first_and_nobody_starves() {
        let slots = Slots::new(1);
        let mut held = have(&slots, WORK);
        let mut rest: Vec<_> = [WORK, WORK, SEEN, SEEN, SEEN, SEEN, SEEN]
            .into_iter()
            .enumerate()
            .map(|(n, it)| (n, claim(&slots, it)))
            .collect();
        let mut order = Vec::new();
        while !rest.is_empty() {
            drop(held);
            let at = rest.iter_mut().position(|(_, it)| {
                let now = it.as_mut().now_or_never();
                let is_in = now.is_some();
                // Held on to until the next turn.
                if let Some(permit) = now {
                    std::mem::forget(permit);
                }
                is_in
            });
            let (n, _) = rest.remove(at.expect("somebody gets in"));
            order.push(n);
            held = Permit { slots: slots.clone(), is_line: false };
        }
        assert_eq!(order, [2, 3, 4, 0, 5, 6, 1]);
    }

    #[test]
    fn a_higher_limit_counts_at_once() {
        let slots = Slots::new(1);
        let _a = have(&slots, WORK);
        let mut b = claim(&slots, WORK);
        slots.set_limit(2);
        assert!(b.as_mut().now_or_never().is_some());
    }
}
