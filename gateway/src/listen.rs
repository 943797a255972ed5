//! Listening for clients: which protocol each speaks, and who serves it.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Request};
use actix_server::Server;
use actix_service::boxed::{self, BoxService};
use actix_service::{Service, ServiceFactory, fn_factory, fn_service};
use actix_tls::accept::rustls_0_23::{Acceptor, AcceptorService, TlsStream};
use actix_web::rt::{self, net::TcpStream};
use rustls::ServerConfig;
use service_kit::server;

use crate::LINGER;
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
                    connection::stop();
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

type Tls = TlsStream<TcpStream>;

/// What a worker does with a new connection.
struct Accept {
    worker: Rc<Worker>,
    bounds: Bounds,
    secure: Option<Secure>,
}

struct Secure {
    handshake: AcceptorService,
    /// Serves those who speak HTTP/2.
    http2: BoxService<(Tls, Option<SocketAddr>), (), DispatchError>,
}

impl Accept {
    async fn new(worker: Rc<Worker>, bounds: Bounds, tls: Option<ServerConfig>) -> Result<Self, ()> {
        let secure = match tls {
            None => None,
            Some(tls) => {
                let mut acceptor = Acceptor::new(tls);
                acceptor.set_handshake_timeout(bounds.header);
                let handshake = ServiceFactory::<TcpStream>::new_service(&acceptor, ()).await?;
                let http2 = http2(Rc::clone(&worker), bounds);
                let http2 = boxed::service(http2.new_service(()).await?);
                Some(Secure { handshake, http2 })
            }
        };
        Ok(Self { worker, bounds, secure })
    }

    /// Serves one connection to its end.
    async fn attend(&self, stream: TcpStream) {
        let (peer, _present) = (stream.peer_addr().ok(), self.worker.present());
        // Answers are written whole: nothing is to be gained by waiting for more.
        let _ = stream.set_nodelay(true);
        let Some(secure) = &self.secure else {
            let connection = Connection::first(&stream, self.bounds);
            return client::attend(Rc::clone(&self.worker), Stream::Plain(stream), peer, connection).await;
        };
        let Ok(stream) = secure.handshake.call(stream).await else {
            return;
        };
        let (socket, session) = stream.get_ref();
        if session.alpn_protocol() == Some(b"h2") {
            // What goes wrong is the client's doing, or shows in the answers.
            let _ = secure.http2.call((stream, peer)).await;
        } else {
            let connection = Connection::first(socket, self.bounds);
            let stream = Stream::Secure(Box::new(stream));
            client::attend(Rc::clone(&self.worker), stream, peer, connection).await;
        }
    }
}

fn http2(
    worker: Rc<Worker>,
    bounds: Bounds,
) -> impl ServiceFactory<
    (Tls, Option<SocketAddr>),
    Config = (),
    Response = (),
    Error = DispatchError,
    InitError = (),
    Service: 'static,
    Future: 'static,
> {
    HttpService::build()
        .keep_alive(bounds.keep_alive)
        .client_request_timeout(bounds.header)
        .client_disconnect_timeout(LINGER)
        .on_connect_ext(move |stream: &Tls, data| {
            if let Some(connection) = Connection::second(stream.get_ref().0, bounds) {
                http2::count(connection, data, bounds.standstill);
            }
        })
        .h2(fn_service(move |request: Request| {
            let worker = Rc::clone(&worker);
            async move { Ok::<_, Infallible>(http2::handle(worker, request).await) }
        }))
}
