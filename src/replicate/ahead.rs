//! Work that is begun before its turn, and goes on whatever is waited for meanwhile.
//!
//! A future that was begun and is not polled keeps what it holds: a connection, the turn to log in. Who waits for
//! that, with such a future in hand, waits for ever. So what is begun ahead is driven beside everything else.

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll},
};

use futures::{
    FutureExt, StreamExt,
    future::LocalBoxFuture,
    stream::{FuturesUnordered, LocalBoxStream},
};

/// See the module's page.
pub struct Ahead<'a, T> {
    tasks: LocalBoxStream<'a, LocalBoxFuture<'a, T>>,
    /// Under way, each with its number.
    begun: FuturesUnordered<LocalBoxFuture<'a, (usize, T)>>,
    done: VecDeque<(usize, T)>,
    /// How many were begun and given out.
    numbers: (usize, usize),
    /// How many are begun or done, at most.
    most: usize,
    is_ordered: bool,
    is_over: bool,
}

impl<'a, T: 'a> Ahead<'a, T> {
    /// Does so many of the tasks at once; gives them in order, or as they are done.
    pub fn new(tasks: LocalBoxStream<'a, LocalBoxFuture<'a, T>>, most: usize, is_ordered: bool) -> Self {
        Self {
            tasks,
            begun: FuturesUnordered::new(),
            done: VecDeque::new(),
            numbers: (0, 0),
            most,
            is_ordered,
            is_over: false,
        }
    }

    /// Goes on with what was begun, and begins more where there is room.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        loop {
            while let Poll::Ready(Some(done)) = self.begun.poll_next_unpin(context) {
                self.done.push_back(done);
            }
            if self.is_over || self.begun.len() + self.done.len() >= self.most {
                return;
            }
            match self.tasks.poll_next_unpin(context) {
                Poll::Ready(Some(task)) => {
                    let number = self.numbers.0;
                    self.numbers.0 += 1;
                    self.begun.push(task.map(move |done| (number, done)).boxed_local());
                }
                Poll::Ready(None) => self.is_over = true,
                Poll::Pending => return,
            }
        }
    }

    /// As of a stream.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.drive(context);
        let next = self.numbers.1;
        let at = self.done.iter().position(|(number, _)| !self.is_ordered || *number == next);
        match at.and_then(|at| self.done.remove(at)) {
            Some((_, done)) => {
                self.numbers.1 += 1;
                Poll::Ready(Some(done))
            }
            None if self.is_over && self.begun.is_empty() => Poll::Ready(None),
            None => Poll::Pending,
        }
    }

    /// The next one; `None` after the last.
    pub fn next(&mut self) -> LocalBoxFuture<'_, Option<T>> {
        poll_fn(|context| self.poll_next(context)).boxed_local()
    }

    /// Does something else, and goes on meanwhile.
    pub async fn beside<R>(&mut self, mut work: LocalBoxFuture<'_, R>) -> R {
        poll_fn(|context| {
            self.drive(context);
            work.poll_unpin(context)
        })
        .await
    }

    /// Lets go of what was begun, and begins nothing more.
    pub fn stop(&mut self) {
        self.is_over = true;
        self.begun.clear();
        self.done.clear();
    }
}
