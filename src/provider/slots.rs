//! Slots of properties, resolved once by name when the registry is built.

/// Declares a struct with one slot a property of a class, and how it is resolved.
macro_rules! slots {
    ($(#[$meta:meta])* $name:ident of $class:literal { $($field:ident: $property:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name {
            pub(crate) class: crate::cim::ClassId,
            $(pub(crate) $field: u16,)+
        }

        impl $name {
            pub(crate) fn resolve(schema: &crate::cim::Schema) -> Result<Self, crate::provider::SchemaMismatch> {
                let class = schema
                    .class_by_name($class)
                    .ok_or_else(|| crate::provider::SchemaMismatch(concat!("class ", $class).to_owned()))?;
                let slot = |name: &str| {
                    class.slot(name).ok_or_else(|| {
                        crate::provider::SchemaMismatch(format!("property {name} in {}", $class))
                    })
                };
                Ok(Self { class: class.id, $($field: slot($property)?,)+ })
            }
        }
    };
}

pub(crate) use slots;
