//! SOAP 1.2 envelopes and WS-Addressing 2004/08.
