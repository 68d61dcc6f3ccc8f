//! Server-sent events: what changed under the folder, told to every page that is open.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::dashboard::Dashboard;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A slow file system is looked at so seldom that looking takes a share of 1 in this.
const LOOK_SHARE: u32 = 10;

/// Looks for changes as long as a page is open.
pub(super) async fn watch(dashboard: Arc<Dashboard>) {
    loop {
        let begun = Instant::now();
        if dashboard.changes.receiver_count() > 0 {
            let dashboard = Arc::clone(&dashboard);
            // A look that ends badly is made again.
            tokio::task::spawn_blocking(move || dashboard.look()).await.ok();
        }
        tokio::time::sleep(LOOK_EVERY.max(begun.elapsed() * LOOK_SHARE)).await;
    }
}

/// Where a stream of events stands.
enum Next {
    /// The page is to ask for everything, for it has seen nothing yet or has missed something.
    Hello,
    Changes,
}

/// `GET /api/events`.
pub(super) async fn events(
    State(dashboard): State<Arc<Dashboard>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    // Listens before it says hello: what changes while the page asks for everything is told after that.
    let start = (dashboard.changes.subscribe(), Next::Hello);
    Sse::new(stream::unfold(start, next)).keep_alive(KeepAlive::default())
}

type Standing = (Receiver<Arc<str>>, Next);

async fn next((mut changes, next): Standing) -> Option<(Result<Event, Infallible>, Standing)> {
    let hello = || Event::default().event("hello").data("{}");
    let event = match next {
        Next::Hello => hello(),
        Next::Changes => match changes.recv().await {
            Ok(change) => Event::default().event("change").data(&*change),
            Err(RecvError::Lagged(_)) => hello(),
            Err(RecvError::Closed) => return None,
        },
    };
    Some((Ok(event), (changes, Next::Changes)))
}
