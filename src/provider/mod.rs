//! CIM providers over the view.
