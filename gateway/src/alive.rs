//! Noticing that the other end of a connection is gone, although nothing says so.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// How long a connection may be silent before it is asked whether anybody is still there.
const SILENCE: Duration = Duration::from_mins(1);
/// How long each answer is waited for.
const ANSWER: Duration = Duration::from_secs(15);
/// How many questions may stay without one.
const QUESTIONS: u32 = 4;

/// Has the system look after a connection, or after all that a listener will accept: one whose other end vanished is broken
/// after two minutes of silence, and one whose other end takes nothing of what is sent, after `pause`.
pub(crate) fn look_after<'a>(socket: impl Into<SockRef<'a>>, pause: Option<Duration>) -> io::Result<()> {
    let socket = socket.into();
    let keepalive = TcpKeepalive::new()
        .with_time(SILENCE)
        .with_interval(ANSWER)
        .with_retries(QUESTIONS);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(pause)?;
    #[cfg(not(target_os = "linux"))]
    let _ = pause;
    Ok(())
}
