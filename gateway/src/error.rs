//! Why a request that was let through got no answer, and whose fault that is.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use service_kit::Problem;

use crate::path::BadPath;
use crate::upstream::{BadTarget, Broken};

/// Why forwarding failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("every connection to the upstream is in use")]
    Full,
    #[error("the upstream cannot be connected to: {0}")]
    Connect(std::io::Error),
    #[error("the upstream did not accept a connection in time")]
    ConnectTimeout,
    #[error("the upstream is not asked: {0}")]
    Unavailable(&'static str, Duration),
    #[error("the upstream broke off or did not speak HTTP: {0}")]
    Upstream(Broken),
    #[error("the upstream's answer cannot be passed on")]
    BadAnswer,
    #[error("the upstream did not answer in time")]
    Timeout,
    #[error("the request body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the client broke off in the middle of the body")]
    ClientBroke,
    #[error("the client stopped sending in the middle of the body")]
    ClientPaused,
    #[error("the request cannot be written for the upstream: {0}")]
    Unwritable(#[from] BadTarget),
}

impl ProxyError {
    /// Whether it is the upstream that failed, and not the client, or we.
    pub(crate) fn is_upstreams(&self) -> bool {
        match self {
            Self::Connect(_) | Self::ConnectTimeout | Self::Upstream(_) | Self::BadAnswer | Self::Timeout => true,
            Self::Full
            | Self::Unavailable(..)
            | Self::TooLarge(_)
            | Self::ClientBroke
            | Self::ClientPaused
            | Self::Unwritable(_) => false,
        }
    }
}

impl From<ProxyError> for Problem {
    fn from(error: ProxyError) -> Self {
        match error {
            ProxyError::Full => {
                Self::unavailable("upstream_busy", "The service is too busy. Try again in a moment.").caused_by(error)
            }
            ProxyError::Unavailable(_, pause) => {
                let seconds = pause.as_millis().div_ceil(1000).max(1).to_string();
                Self::unavailable(
                    "upstream_unavailable",
                    "The service behind this address is out of order. Try again in a moment.",
                )
                .header(RETRY_AFTER, &seconds)
                .caused_by(error)
            }
            // Nothing was sent, so the same request may be sent again, whatever it is.
            ProxyError::Connect(_) => Self::unavailable(
                "upstream_unavailable",
                "The service behind this address cannot be reached. Try again in a moment.",
            )
            .caused_by(error),
            ProxyError::Upstream(_) | ProxyError::BadAnswer => Self::new(
                StatusCode::BAD_GATEWAY,
                "bad_gateway",
                "The service behind this address gave no proper answer. Try again in a moment.",
            )
            .caused_by(error),
            ProxyError::ConnectTimeout | ProxyError::Timeout => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "gateway_timeout",
                "The service behind this address did not answer in time.",
            )
            .caused_by(error),
            ProxyError::TooLarge(limit) => Self::too_large(usize::try_from(limit).unwrap_or(usize::MAX)),
            ProxyError::ClientBroke => Self::bad_request("incomplete_body", "The request body broke off."),
            ProxyError::ClientPaused => Self::new(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                "The request body did not arrive in time.",
            ),
            ProxyError::Unwritable(_) => Self::bad_request(
                "bad_request",
                "The request target has characters that URLs do not have.",
            ),
        }
    }
}

impl From<BadPath> for Problem {
    fn from(error: BadPath) -> Self {
        Self::bad_request("bad_path", error.to_string())
    }
}
