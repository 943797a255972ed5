//! Listening for clients: which protocol each speaks, and who serves it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use actix_server::Server;
use actix_service::{Service, ServiceFactory, fn_factory, fn_service};
use actix_tls::accept::rustls_0_23::{Acceptor, AcceptorService};
use actix_web::rt::{self, net::TcpStream};
use rustls::ServerConfig;
use service_kit::server;

use crate::alive;
use crate::client::{self, Stream};
use crate::connection::{self, Bounds, Connection};
use crate::http2;
use crate::serve::{Gateway, Worker};

/// Serves whoever connects to `listener`, with TLS if there is a configuration for it, by so many `workers`.
///
/// # Errors
/// When the listener cannot be used.
pub(crate) fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    bounds: Bounds,
    workers: usize,
    tls: Option<ServerConfig>,
) -> io::Result<Server> {
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(bounds.most)
        .shutdown_timeout(server::GRACE_SECONDS)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let builder = builder.listen("gateway", listener, move || {
        let (gateway, stopping, tls) = (Arc::clone(&gateway), stopping.clone(), tls.clone());
        fn_factory(move || {
            let (gateway, stopping, tls) = (Arc::clone(&gateway), stopping.clone(), tls.clone());
            async move {
                let worker = Rc::new(Worker::new(&gateway));
                let told = Rc::clone(&worker);
                rt::spawn(async move {
                    stopping.notified().await;
                    told.stop();
                    connection::stop().await;
                });
                let accept = Rc::new(Accept::new(worker, bounds, tls).await?);
                Ok::<_, ()>(fn_service(move |stream| {
                    let accept = Rc::clone(&accept);
                    async move {
                        accept.attend(stream).await;
                        Ok::<_, ()>(())
                    }
                }))
            }
        })
    })?;
    Ok(builder.run())
}

/// What a worker does with a new connection.
struct Accept {
    worker: Rc<Worker>,
    bounds: Bounds,
    /// Shakes hands for TLS.
    handshake: Option<AcceptorService>,
}

impl Accept {
    async fn new(worker: Rc<Worker>, bounds: Bounds, tls: Option<ServerConfig>) -> Result<Self, ()> {
        let handshake = match tls {
            None => None,
            Some(tls) => {
                let mut acceptor = Acceptor::new(tls);
                acceptor.set_handshake_timeout(bounds.header);
                Some(ServiceFactory::<TcpStream>::new_service(&acceptor, ()).await?)
            }
        };
        Ok(Self {
            worker,
            bounds,
            handshake,
        })
    }

    /// Serves one connection to its end. What only some of them need is in memory of its own: there may be very many others.
    async fn attend(&self, stream: TcpStream) {
        let (peer, _present) = (stream.peer_addr().ok(), self.worker.present());
        // Answers are written whole: nothing is to be gained by waiting for more.
        let _ = stream.set_nodelay(true);
        let bounds = self.bounds_now();
        if bounds.standstill != self.bounds.standstill {
            // The listener was told what counted at the start.
            let _ = alive::look_after(&stream, Some(bounds.standstill));
        }
        if let Some(handshake) = &self.handshake {
            return Box::pin(self.attend_secure(handshake, stream, peer, bounds)).await;
        }
        let connection = Connection::first(&stream, bounds);
        client::attend(Rc::clone(&self.worker), Stream::Plain(stream), peer, connection).await;
    }

    /// What counts now, of which a reload may have replaced a part.
    fn bounds_now(&self) -> Bounds {
        Bounds {
            standstill: self.worker.body_timeout(),
            ..self.bounds
        }
    }

    async fn attend_secure(
        &self,
        handshake: &AcceptorService,
        stream: TcpStream,
        peer: Option<SocketAddr>,
        bounds: Bounds,
    ) {
        let Ok(stream) = handshake.call(stream).await else {
            return;
        };
        let worker = Rc::clone(&self.worker);
        let (socket, session) = stream.get_ref();
        if session.alpn_protocol() == Some(b"h2") {
            let connection = Connection::second(socket, bounds);
            Box::pin(http2::attend(worker, stream, peer, connection, bounds.standstill)).await;
        } else {
            let connection = Connection::first(socket, bounds);
            client::attend(worker, Stream::Secure(Box::new(stream)), peer, connection).await;
        }
    }
}
