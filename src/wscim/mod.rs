//! The WS-CIM binding (DSP0227, DSP0230): CIM to and from WS-Management.
