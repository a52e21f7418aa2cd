//! Takes the control socket and the HTTP address, before anything else is started that a failure would have to undo.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;

use thiserror::Error;

use crate::config::Appliance;

/// Where requests arrive.
#[derive(Debug)]
pub struct Listeners {
    /// The control socket.
    pub socket: UnixListener,
    /// HTTP.
    pub http: Option<TcpListener>,
    /// To be kept as long as `socket`.
    pub file: SocketFile,
}

/// The control socket's file; dropping it removes it.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

/// Why there is nothing to listen on.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another process answers there.
    #[error(
        "control socket {0}: another evenkeel is running on it; stop it, or set appliance.control_socket"
    )]
    InUse(PathBuf),
    /// Something that is no socket is in the way.
    #[error(
        "control socket {0}: a file that is not a socket is in the way; remove it, or set appliance.control_socket"
    )]
    NotASocket(PathBuf),
    /// See the message.
    #[error(
        "control socket {path}: {error}; check that the directory can be written, or set appliance.control_socket"
    )]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// See the message.
    #[error("http_listen {address}: {error}; free the address, or set appliance.http_listen")]
    Http {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

impl Listeners {
    /// Listens where `appliance` says. Creates the socket's directory, and takes the place of a socket whose process
    /// is dead.
    ///
    /// # Errors
    ///
    /// If either cannot be had.
    pub fn bind(appliance: &Appliance) -> Result<Self, ListenError> {
        let path = &appliance.control_socket;
        let http = appliance.http_listen.map(bind_http).transpose()?;
        clear(path)?;
        let error = |error| ListenError::Socket { path: path.clone(), error };
        let socket = bind_socket(path).map_err(error)?;
        Ok(Self { socket, http, file: SocketFile(path.clone()) })
    }

    /// Where HTTP listens, with the port that was chosen if 0 was asked for.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().and_then(|http| http.local_addr().ok())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If somebody else was quicker there is nothing to do.
        let _gone = fs::remove_file(&self.0);
    }
}

/// Makes way for a new socket, unless somebody answers on the old one.
fn clear(path: &Path) -> Result<(), ListenError> {
    let error = |error| ListenError::Socket { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(other) => return Err(error(other)),
        Ok(file) if !file.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(dead) if dead.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(error),
        Err(other) => Err(error(other)),
        Ok(_) => Err(ListenError::InUse(path.to_owned())),
    }
}

fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let socket = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind_http(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bind().map_err(|error| ListenError::Http { address, error })
}
