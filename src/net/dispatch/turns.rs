//! A queue in which client addresses take turns. A client with thousands of queries in the queue
//! has one turn in each round, like every other client.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// A queue without a bound of its own. Dropping either end closes it.
pub(super) fn queue<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared { state: Mutex::new(State::default()), changed: Notify::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

pub(super) struct Sender<T>(Arc<Shared<T>>);

/// There is one receiver.
pub(super) struct Receiver<T>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    by_client: HashMap<IpAddr, VecDeque<T>>,
    /// The clients in `by_client`, each once. The first one has the next turn.
    turns: VecDeque<IpAddr>,
    is_closed: bool,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { by_client: HashMap::new(), turns: VecDeque::new(), is_closed: false }
    }
}

impl<T> State<T> {
    fn add(&mut self, client: IpAddr, item: T) {
        let waiting = self.by_client.entry(client).or_default();
        if waiting.is_empty() {
            self.turns.push_back(client);
        }
        waiting.push_back(item);
    }

    /// The oldest item of the client whose turn it is.
    fn take(&mut self) -> Option<T> {
        let client = self.turns.pop_front()?;
        let waiting = self.by_client.get_mut(&client)?;
        let item = waiting.pop_front();
        if waiting.is_empty() {
            self.by_client.remove(&client);
        } else {
            self.turns.push_back(client);
        }
        if self.turns.is_empty() {
            // A flood from many addresses leaves large tables behind.
            self.turns.shrink_to(64);
            self.by_client.shrink_to(64);
        }
        item
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }
}

impl<T> Sender<T> {
    /// Returns the item if the receiver is gone.
    pub(super) fn send(&self, client: IpAddr, item: T) -> Result<(), T> {
        let mut state = self.0.lock();
        if state.is_closed {
            return Err(item);
        }
        state.add(client, item);
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }
}

impl<T> Receiver<T> {
    /// The next item; `None` if the sender is gone and nothing waits.
    pub(super) async fn next(&mut self) -> Option<T> {
        loop {
            {
                let mut state = self.0.lock();
                let item = state.take();
                if item.is_some() || state.is_closed {
                    return item;
                }
            }
            self.0.changed.notified().await;
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn clients_take_turns() {
        let (sender, mut receiver) = queue();
        for number in 0..4000 {
            sender.send(client(1), (1, number)).unwrap();
        }
        assert_eq!(receiver.next().await, Some((1, 0)));
        sender.send(client(2), (2, 0)).unwrap();
        sender.send(client(2), (2, 1)).unwrap();
        sender.send(client(3), (3, 0)).unwrap();
        let mut next = Vec::new();
        for _ in 0..6 {
            next.push(receiver.next().await.unwrap());
        }
        assert_eq!(next, [(1, 1), (2, 0), (3, 0), (1, 2), (2, 1), (1, 3)]);
        drop(sender);
        let mut rest = 0;
        while receiver.next().await.is_some() {
            rest += 1;
        }
        assert_eq!(rest, 4000 - 4, "what was sent before the close is received");
        assert!(receiver.0.lock().by_client.is_empty());
    }

    #[tokio::test]
    async fn a_closed_queue_gives_the_item_back() {
        let (sender, receiver) = queue();
        drop(receiver);
        assert_eq!(sender.send(client(1), 7), Err(7));
    }
}
