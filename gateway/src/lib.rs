//! The gateway: verifies bearer tokens by itself and proxies to protected services.
