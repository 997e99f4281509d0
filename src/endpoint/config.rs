//! The configuration of the service as a resource: read-only, since the configuration file decides.

use crate::soap::{Fault, SelectorValue};
use crate::wsman::{ConfigPart, Operation, WinrmListener, fault};

use super::exchange::Exchange;
use super::{Reply, access};

impl Exchange<'_> {
    /// Answers a request for a part of the configuration.
    pub(super) fn config(&self, part: ConfigPart<'_>) -> Result<Reply, Fault> {
        access::check_some_namespace(self.call.permissions, self.endpoint.schema)?;
        let config = &self.endpoint.settings.winrm;
        match (&self.request.operation, part) {
            (_, ConfigPart::Foreign(name)) => Err(fault::invalid_resource_uri(format!(
                "this service has no settings '{name}': it starts no shells and calls no other service"
            ))),
            (Operation::Get, ConfigPart::Whole) => self.bounded(self.encode(|w| config.write(w))),
            (Operation::Get, ConfigPart::Service) => self.bounded(self.encode(|w| config.write_service(w))),
            (Operation::Get, ConfigPart::Listener) => {
                let listener = self.listener()?;
                self.bounded(self.encode(|w| config.write_listener(w, listener)))
            }
            (Operation::Enumerate(enumerate), ConfigPart::Listener) => self.enumerate_listeners(enumerate),
            (operation, _) => Err(fault::action_mismatch(format!(
                "{} is not offered for the configuration: the configuration file of this service decides, and changes \
                 hold from its next start",
                operation.name()
            ))),
        }
    }

    /// The listener that the selectors name: `Address` and `Transport`.
    fn listener(&self) -> Result<&WinrmListener, Fault> {
        let (mut address, mut transport) = (None, None);
        for selector in &self.request.selectors.0 {
            let slot = match selector.name.to_ascii_lowercase().as_str() {
                "address" => &mut address,
                "transport" => &mut transport,
                _ => {
                    return Err(fault::invalid_selectors_unexpected(format!(
                        "'{}' is no selector of a listener; those are Address and Transport",
                        selector.name
                    )));
                }
            };
            let SelectorValue::Text(text) = &selector.value else {
                return Err(fault::invalid_selectors_type_mismatch(format!(
                    "the selector {} is a reference, not a text",
                    selector.name
                )));
            };
            *slot = Some(text.as_str());
        }
        let (Some(address), Some(transport)) = (address, transport) else {
            return Err(fault::invalid_selectors_insufficient(
                "a listener is named by the selectors Address and Transport; to get all of them, enumerate",
            ));
        };
        let found = self.endpoint.settings.winrm.listener(address, transport);
        found.ok_or_else(|| {
            fault::resource_not_found(format!("there is no listener with Address='{address}', Transport='{transport}'"))
        })
    }
}
