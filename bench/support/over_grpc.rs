//! The two sides of a figure over gRPC: a server's calls, and the same calls at a bare handler.

use std::time::Duration;

use grpcio::Method;

use super::Result;
use super::in_process::BareHandler;
use super::load::{LoadClient, Until};
use super::timed::Numbers;

/// Makes so many calls, and says how long they took.
pub type Run<'a> = Box<dyn FnMut(u64) -> Result<Duration> + 'a>;

/// The server's run, and the floor's.
pub type Sides<'a> = (Run<'a>, Run<'a>);

/// Unary calls of one kind.
pub struct Calls<Q: 'static, S: 'static, R, C> {
    pub method: &'static Method<Q, S>,
    /// Under way at once, over one connection.
    pub in_flight: usize,
    /// Builds the call of a number.
    pub request: R,
    /// Whether an answer is what the server owes the call of a number.
    pub is_right: C,
}

impl<Q, S, R, C> Calls<Q, S, R, C>
where
    Q: Send + 'static,
    S: Send + Unpin + 'static,
    R: Fn(u64) -> Q + Clone + Send + Sync + 'static,
    C: Fn(u64, &S) -> bool + Clone + Send + Sync + 'static,
{
    /// Calls at `addr` with numbers of their own, beside those at `bare`.
    pub fn beside<'a>(self, addr: &str, bare: BareHandler) -> Result<Sides<'a>>
    where
        R: 'a,
        C: 'a,
    {
        let mut numbers = Numbers::default();
        self.numbered(addr, bare, move |calls| numbers.take(calls))
    }

    /// The same, where `take` gives the first of so many numbers for the calls at `addr`.
    pub fn numbered<'a>(self, addr: &str, bare: BareHandler, mut take: impl FnMut(u64) -> u64 + 'a) -> Result<Sides<'a>>
    where
        R: 'a,
        C: 'a,
    {
        let Self { method, in_flight, request, is_right } = self;
        let (client, bare_client) = (LoadClient::connect(addr)?, LoadClient::connect(bare.addr())?);
        let mut numbers = Numbers::default();
        let served_request = request.clone();
        let mut served = move |calls| {
            let first = take(calls);
            let (request, is_right) = (served_request.clone(), is_right.clone());
            let request = move |number| request(first + number);
            let is_right = move |number, answer: &S| is_right(first + number, answer);
            Ok(client.run(method, in_flight, Until::Calls(calls), request, is_right)?.elapsed)
        };
        let mut floor = move |calls| {
            let _serves = &bare;
            let (first, request) = (numbers.take(calls), request.clone());
            let request = move |number| request(first + number);
            Ok(bare_client.run(method, in_flight, Until::Calls(calls), request, |_, _| true)?.elapsed)
        };
        // The first calls wait for a connection, which is no part of a figure.
        served(1)?;
        floor(1)?;
        Ok((Box::new(served), Box::new(floor)))
    }
}
