//! How many clients may be connected at a time, which a reload may change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

/// The permits of all listeners together.
pub(super) struct Cap {
    permits: Arc<Semaphore>,
    /// Guards how many there are and are to be.
    state: Mutex<State>,
}

struct State {
    /// Permits that there are, held ones included.
    size: usize,
    wanted: usize,
    /// A task takes permits away as connections end.
    shrinking: bool,
}

impl Cap {
    pub(super) fn new(size: usize) -> Arc<Self> {
        let state = State { size, wanted: size, shrinking: false };
        Arc::new(Self { permits: Arc::new(Semaphore::new(size)), state: Mutex::new(state) })
    }

    pub(super) fn permits(&self) -> &Arc<Semaphore> {
        &self.permits
    }

    /// Lets so many connect from now on. Where there are more already, nobody is let in until
    /// enough have gone. Wants a tokio runtime.
    pub(super) fn set(self: &Arc<Self>, wanted: usize) {
        let mut state = self.state();
        state.wanted = wanted;
        if wanted > state.size {
            self.permits.add_permits(wanted - state.size);
            state.size = wanted;
        } else if wanted < state.size && !state.shrinking {
            state.shrinking = true;
            tokio::spawn(Arc::clone(self).shrink());
        }
    }

    async fn shrink(self: Arc<Self>) {
        // Nobody closes the semaphore.
        while let Ok(permit) = self.permits.acquire().await {
            let mut state = self.state();
            if state.size > state.wanted {
                permit.forget();
                state.size -= 1;
            }
            if state.size <= state.wanted {
                state.shrinking = false;
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn permits_come_at_once_and_go_as_connections_end() {
        let cap = Cap::new(2);
        let (one, two) =
            (cap.permits().acquire().await.unwrap(), cap.permits().acquire().await.unwrap());
        cap.set(1);
        tokio::task::yield_now().await;
        drop(one);
        tokio::task::yield_now().await;
        assert_eq!(cap.permits().available_permits(), 0, "the one that is free was taken away");
        cap.set(3);
        assert_eq!(cap.permits().available_permits(), 2);
        drop(two);
        assert_eq!(cap.permits().available_permits(), 3);
    }

    #[tokio::test]
    async fn a_second_change_takes_the_place_of_the_first() {
        let cap = Cap::new(3);
        let all = cap.permits().acquire_many(3).await.unwrap();
        cap.set(1);
        tokio::task::yield_now().await;
        cap.set(2);
        tokio::task::yield_now().await;
        drop(all);
        tokio::task::yield_now().await;
        assert_eq!(cap.permits().available_permits(), 2);
    }
}
