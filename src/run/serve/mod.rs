//! `dinoxide serve`: a page that shows the runs under a folder while they train. Nothing is written, nothing outside of the
//! run folders is read, and the page asks no other machine for anything.
//!
//! The catalog knows the runs and notices what changes, the routes answer with it and with files of the run folders, events tell
//! the page what changed.

mod catalog;
mod dashboard;
mod events;
mod files;
mod follow;
mod gallery;
mod guard;
mod routes;
mod view;

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::interrupt::Interrupt;
use super::{RunError, machine};
use dashboard::Dashboard;

/// Port unless another one is asked for.
pub const PORT: u16 = 7007;
/// Address unless another one is asked for: this machine only.
pub const HOST: &str = "127.0.0.1";

/// How often a wish to stop is looked for.
const STOP_EVERY: Duration = Duration::from_millis(100);
/// How long a read that hangs, on a network file system, may hold up the end.
const END_WITHIN: Duration = Duration::from_secs(1);

/// A server that listens but does not answer yet.
#[derive(Debug)]
pub struct Server {
    folder: PathBuf,
    host: String,
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens on `port` of `host` for questions about the runs under `folder`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`RunError::File`] if the folder cannot be read, [`RunError::PortInUse`], [`RunError::Listen`].
    pub fn listen(folder: &Path, host: &str, port: u16) -> Result<Self, RunError> {
        std::fs::read_dir(folder).map_err(RunError::file("read", folder))?;
        let refused = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::AddrInUse => RunError::PortInUse { host: host.to_owned(), port },
            _ => RunError::Listen { host: host.to_owned(), port, source },
        };
        // A name may stand for several addresses: the first one that can be had.
        let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(refused)?.collect();
        let listener = TcpListener::bind(&addresses[..]).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        Ok(Self { folder: folder.to_owned(), host: host.to_owned(), listener, address })
    }

    /// What to say when it begins: where the page is, and how to reach it from another machine.
    pub fn words(&self) -> String {
        let (address, port, folder) = (self.address, self.address.port(), self.folder.display());
        if !address.ip().is_loopback() {
            // An address that stands for all of them cannot be opened.
            let all = address.ip().is_unspecified().then(|| format!("{}:{port}", machine::host()));
            let page = all.unwrap_or_else(|| address.to_string());
            let warning = "warning: whoever reaches this address may look at the runs";
            return format!("runs under `{folder}`: http://{page}/\n{warning}\nCtrl-C ends");
        }
        let first = format!("runs under `{folder}`: http://{address}/");
        let far = format!("ssh -N -L {port}:{address} {}", machine::host());
        format!(
            "{first}\nfrom another machine: {far}\n                      and there http://127.0.0.1:{port}/\nCtrl-C ends"
        )
    }

    /// Answers until a stop is asked for.
    ///
    /// # Errors
    /// [`RunError::Serve`].
    pub fn run(self, interrupt: &Interrupt) -> Result<(), RunError> {
        let failed = |source: std::io::Error| RunError::Serve { source };
        // One thread is enough: files are read on others, which are started as needed.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let ended = runtime.block_on(async {
            let dashboard = Arc::new(Dashboard::new(&self.folder));
            let watch = tokio::spawn(events::watch(Arc::clone(&dashboard)));
            let listener = tokio::net::TcpListener::from_std(self.listener)?;
            let names = guard::Names::of(&self.host, self.address);
            let serving = axum::serve(listener, routes::router(dashboard, names)).into_future();
            let stop = async {
                while !interrupt.requested() {
                    tokio::time::sleep(STOP_EVERY).await;
                }
            };
            let ended = match select(Box::pin(serving), Box::pin(stop)).await {
                Either::Left((ended, _)) => ended,
                Either::Right(_) => Ok(()),
            };
            watch.abort();
            ended
        });
        runtime.shutdown_timeout(END_WITHIN);
        ended.map_err(failed)
    }
}
