//! Slots of properties, resolved once by name when the registry is built.

/// Declares a struct with one slot a property of a class, and how it is resolved. Without a namespace (`of "Class" in
/// "root/x"`) the class is one of the default namespace.
macro_rules! slots {
    (@class $schema:ident $class:literal) => { $schema.class_by_name($class) };
    (@class $schema:ident $class:literal $namespace:literal) => {
        $schema
            .find_namespace($namespace)
            .and_then(|namespace| $schema.find_in(namespace, $class))
            .map(|class| $schema.class(class))
    };
    (
        $(#[$meta:meta])* $name:ident of $class:literal $(in $namespace:literal)? {
            $($field:ident: $property:literal),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name {
            pub(crate) class: crate::cim::ClassId,
            $(pub(crate) $field: u16,)+
        }

        impl $name {
            pub(crate) fn resolve(schema: &crate::cim::Schema) -> Result<Self, crate::provider::SchemaMismatch> {
                let class = crate::provider::slots::slots!(@class schema $class $($namespace)?)
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
