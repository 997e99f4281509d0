//! WS-Transfer: Get.

use std::sync::Arc;

use crate::soap::Fault;
use crate::wscim;

use super::exchange::Exchange;
use super::{Journal, Reply};

impl Exchange<'_> {
    pub(super) fn get(&self, journal: &mut Journal) -> Result<Reply, Fault> {
        let (endpoint, schema) = (self.endpoint, self.endpoint.schema);
        let resource = self.resource()?;
        let class = resource.class()?;
        journal.class = Some(Arc::clone(&schema.class(class).name));
        endpoint.check_class(self.call, class)?;
        let path = wscim::object_path(class, &self.request.selectors, schema)?;
        let cx = endpoint.read_context(self.call);
        let instance = endpoint.registry.get(&cx, &path).map_err(wscim::fault_of)?;
        journal.job = endpoint.registry.job_of(&instance);
        self.bounded(self.encode(|w| {
            wscim::write_instance(w, self.codec(), schema, resource.family, &instance);
        }))
    }
}
