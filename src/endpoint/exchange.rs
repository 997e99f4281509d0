//! One exchange: what its steps share, and how its answer is written within the bound of its size.

use crate::soap::Fault;
use crate::wscim::{Arrays, Resource};
use crate::wsman::{self, Correlation, Request, fault};
use crate::xml::Writer;
use crate::xml::text::Encoding;

use super::{Call, Endpoint, Reply, options};

/// Room for an envelope around a body, without what is echoed of the request.
pub(super) const ENVELOPE_OCTETS: usize = 2_048;

/// One exchange: everything its steps share.
pub(super) struct Exchange<'e> {
    pub(super) endpoint: &'e Endpoint,
    pub(super) call: &'e Call<'e>,
    pub(super) request: &'e Request<'e>,
    pub(super) correlation: &'e Correlation<'e>,
    pub(super) encoding: Encoding,
    pub(super) octets_max: usize,
}

impl Exchange<'_> {
    pub(super) fn encode(&self, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        self.encode_around(4_096, body)
    }

    /// As [`Exchange::encode`], with room for a body of so many octets: a page of instances is moved once.
    pub(super) fn encode_around(&self, body_octets: usize, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        self.encode_with(body_octets, |_| {}, body)
    }

    /// As [`Exchange::encode_around`], with more header blocks. That of a fragment is repeated.
    //= FRG-02
    pub(super) fn encode_with(
        &self,
        body_octets: usize,
        header: impl FnOnce(&mut Writer<'_>),
        body: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        let mut octets = Vec::with_capacity(body_octets + ENVELOPE_OCTETS);
        let header = |w: &mut Writer<'_>| {
            if let Some(fragment) = &self.request.fragment {
                fragment.write_header(w);
            }
            header(w);
        };
        let (action, id) = (self.request.response_action(), (self.call.ids)());
        wsman::encode_response_with(&mut octets, &action, self.correlation, id, header, body);
        octets
    }

    pub(super) fn bounded(&self, octets: Vec<u8>) -> Result<Reply, Fault> {
        if self.octets_max < octets.len() {
            return Err(fault::encoding_limit_max_envelope_size_exceeded(format!(
                "the answer needs {} octets, more than MaxEnvelopeSize allows ({})",
                octets.len(),
                self.octets_max
            )));
        }
        Ok(Reply::Body(octets))
    }

    /// How arrays are written for this request.
    //= MAP-09
    pub(super) fn arrays(&self) -> Arrays {
        if options::is_set(&self.request.options, options::PRECISE_ARRAYS) { Arrays::Precise } else { Arrays::Plain }
    }

    pub(super) fn resource(&self) -> Result<Resource, Fault> {
        self.endpoint.resource(self.request)
    }
}
