//! Classes with everything they inherit, and who is below whom.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::mof::{self, MofError};
use super::name::NameIndex;
use super::{CimType, Text, Value};

/// The namespace that is meant where none is named.
pub const DEFAULT_NAMESPACE: &str = "root/virtualization/v2";

const QUALIFIERS: (&str, &str) = ("cim/qualifiers.mof", include_str!("../../schemas/cim/qualifiers.mof"));
const CORE: (&str, &str) = ("cim/core.mof", include_str!("../../schemas/cim/core.mof"));
const EVENTS: (&str, &str) = ("cim/events.mof", include_str!("../../schemas/cim/events.mof"));
const ASSOCIATIONS: (&str, &str) = ("cim/associations.mof", include_str!("../../schemas/cim/associations.mof"));

/// The namespaces of the product with their schema files, by name; the default one is the first. The files are the only
/// truth about classes. `root/cimv2` is there because clients look for an operating system in it, and has no class.
const BUILTIN: &[(&str, &[(&str, &str)])] = &[
    (
        DEFAULT_NAMESPACE,
        &[
            QUALIFIERS,
            CORE,
            ASSOCIATIONS,
            EVENTS,
            ("root_virtualization_v2.mof", include_str!("../../schemas/root_virtualization_v2.mof")),
        ],
    ),
    ("root/interop", &[QUALIFIERS, CORE, ("root_interop.mof", include_str!("../../schemas/root_interop.mof"))]),
    ("root/cimv2", &[]),
];

/// The place of a namespace in its schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub(super) u8);

impl NamespaceId {
    /// The namespace that is meant where none is named: the first.
    pub const DEFAULT: Self = Self(0);
}

/// A namespace: what lives in it has a name of its own there, whatever other namespaces have.
#[derive(Debug)]
pub struct Namespace {
    /// Its place in the schema.
    pub id: NamespaceId,
    /// Its name, with forward slashes.
    pub name: Arc<str>,
    /// Where its classes begin among those of the schema, and how many there are.
    first: usize,
    count: usize,
    index: NameIndex,
}

/// The place of a class in its schema, whatever its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub(super) u16);

impl ClassId {
    /// The place as an index, for tables with a row for each class.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A method of a class, by its place in the class's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodId {
    /// The class that it was looked up in.
    pub class: ClassId,
    /// The place in [`Class::methods`].
    pub index: u16,
}

/// The classes of all namespaces. Base classes are there once for each namespace that has them, so that a class and all
/// it inherits from are always of one namespace.
#[derive(Debug)]
pub struct Schema {
    namespaces: Vec<Namespace>,
    pub(super) classes: Vec<Class>,
    /// By class: itself and all below it, parents first.
    subclasses: Vec<Vec<ClassId>>,
}

/// A class with what it inherits.
#[derive(Debug)]
pub struct Class {
    /// Its place in the schema.
    pub id: ClassId,
    /// Its name, in the case of the schema file.
    pub name: Arc<str>,
    /// The namespace that it lives in.
    pub namespace: NamespaceId,
    /// The class that it inherits from.
    pub superclass: Option<ClassId>,
    /// All properties, those of the topmost class first: a property has the same slot in every class below.
    pub properties: Vec<Property>,
    /// All methods, those of the topmost class first.
    pub methods: Vec<Method>,
    /// The slots of the key properties, in slot order.
    pub keys: Vec<u16>,
    /// Whether it has no instances of its own.
    pub is_abstract: bool,
    /// Whether its instances relate others.
    pub is_association: bool,
    /// The qualifiers written at the class itself.
    pub qualifiers: Vec<Qualifier>,
    /// From the topmost class to this one.
    pub(super) ancestry: Vec<ClassId>,
    pub(super) property_index: NameIndex,
    pub(super) method_index: NameIndex,
    /// One value for each slot, ready to be cloned into a new instance.
    pub(super) defaults: Vec<Value>,
}

/// A property of a class.
#[derive(Clone, Debug)]
pub struct Property {
    /// Its name, in the case of the schema file.
    pub name: Arc<str>,
    /// The type of its value or, of an array, of the items.
    pub cim_type: CimType,
    /// Whether the value is an array.
    pub is_array: bool,
    /// Whether it is part of the instance's identity.
    pub is_key: bool,
    /// Whether a client may set it by a put (qualifier `Write`).
    pub is_writable: bool,
    /// Of a reference: the class that it refers to.
    pub reference_class: Option<Arc<str>>,
    /// Of a string that holds an instance: which.
    pub embedded: Option<Embedded>,
    /// The value in a new instance.
    pub default: Value,
    /// The names of its values.
    pub values: ValueMap,
    /// The class that declared it first.
    pub origin: ClassId,
    /// The class that described it last: `origin` or one that overrides it.
    pub declared_in: ClassId,
    /// All qualifiers, inherited ones included.
    pub qualifiers: Arc<[Qualifier]>,
}

/// A method of a class.
#[derive(Clone, Debug)]
pub struct Method {
    /// Its name, in the case of the schema file.
    pub name: Arc<str>,
    /// The type of `ReturnValue`.
    pub return_type: CimType,
    /// Its parameters, in and out, in their order.
    pub parameters: Vec<Parameter>,
    /// The names of the return values.
    pub values: ValueMap,
    /// The class that declared it first.
    pub origin: ClassId,
    /// The class that described it last: `origin` or one that overrides it.
    pub declared_in: ClassId,
    /// All qualifiers, inherited ones included.
    pub qualifiers: Arc<[Qualifier]>,
}

/// A parameter of a method.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "four independent facts of the declaration")]
pub struct Parameter {
    /// Its name, in the case of the schema file.
    pub name: Arc<str>,
    /// The type of its value or, of an array, of the items.
    pub cim_type: CimType,
    /// Whether the value is an array.
    pub is_array: bool,
    /// Whether the caller gives it.
    pub is_in: bool,
    /// Whether the answer has it.
    pub is_out: bool,
    /// Whether it may be absent or NULL (it lacks the qualifier `Required`).
    pub is_optional: bool,
    /// Of a reference: the class that it refers to.
    pub reference_class: Option<Arc<str>>,
    /// Of a string that holds an instance: which.
    pub embedded: Option<Embedded>,
    /// The names of its values.
    pub values: ValueMap,
    /// All qualifiers.
    pub qualifiers: Arc<[Qualifier]>,
}

/// What a string with an instance in it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Embedded {
    /// An instance of this class or one below it.
    Instance(Arc<str>),
    /// Any instance or class.
    Object,
}

/// A qualifier as written.
#[derive(Clone, Debug, PartialEq)]
pub struct Qualifier {
    /// Its name, in the case of the schema file.
    pub name: Arc<str>,
    /// The type of its value or, of an array, of the items.
    pub cim_type: CimType,
    /// What becomes of it in classes below.
    pub flavor: Flavor,
    /// Its value; `true` when none is written.
    pub value: Value,
}

/// What becomes of a qualifier in classes below (DSP0004 section 5.6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flavor {
    /// Whether what is inherited has it too.
    pub is_handed_down: bool,
    /// Whether a class below may give it another value.
    pub is_overridable: bool,
    /// Whether its value depends on the language.
    pub is_translatable: bool,
}

impl Default for Flavor {
    fn default() -> Self {
        Self { is_handed_down: true, is_overridable: true, is_translatable: false }
    }
}

/// The values that a number may have and their names (qualifiers `ValueMap` and `Values`). Empty when there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueMap(pub(super) Option<Arc<[ValueMapEntry]>>);

/// One row of a [`ValueMap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueMapEntry {
    /// The values.
    pub range: ValueRange,
    /// Their name.
    pub name: Arc<str>,
}

/// The values of one row of a [`ValueMap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueRange {
    /// From the first to the last, both included. A single value is both.
    Numbers(i64, i64),
    /// All values that no other row claims (`..`).
    Unclaimed,
    /// A value that is a text.
    Text(Arc<str>),
}

impl ValueMap {
    /// The rows in their order.
    pub fn entries(&self) -> &[ValueMapEntry] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The name of `value`: of the row with just this value, of the range with it, or of the unclaimed.
    pub fn name_of(&self, value: i64) -> Option<&str> {
        let exact = |entry: &&ValueMapEntry| entry.range == ValueRange::Numbers(value, value);
        let within =
            |entry: &&ValueMapEntry| matches!(entry.range, ValueRange::Numbers(a, b) if a <= value && value <= b);
        let rows = self.entries();
        rows.iter()
            .find(exact)
            .or_else(|| rows.iter().find(within))
            .or_else(|| rows.iter().find(|entry| entry.range == ValueRange::Unclaimed))
            .map(|entry| entry.name.as_ref())
    }

    /// The single value of a name.
    pub fn value_of(&self, name: &str) -> Option<i64> {
        self.entries().iter().find_map(|entry| match entry.range {
            ValueRange::Numbers(a, b) if a == b && entry.name.as_ref() == name => Some(a),
            _ => None,
        })
    }
}

impl Schema {
    /// Reads MOF texts of the default namespace, each with the name that errors give it. Classes may stand in any order
    /// and any of the texts.
    pub fn parse(sources: &[(&str, &str)]) -> Result<Schema, MofError> {
        Schema::parse_namespaces(&[(DEFAULT_NAMESPACE, sources)])
    }

    /// Reads the MOF texts of several namespaces, the default one first.
    pub fn parse_namespaces(namespaces: &[(&str, &[(&str, &str)])]) -> Result<Schema, MofError> {
        mof::build::build(namespaces)
    }

    /// The product's own schema, parsed at the first call.
    ///
    /// # Panics
    /// Never in a build whose tests pass: the texts are part of the program and a test parses them.
    pub fn builtin() -> &'static Schema {
        static BUILT: OnceLock<Schema> = OnceLock::new();
        BUILT.get_or_init(|| Schema::parse_namespaces(BUILTIN).expect("a test parses the embedded schema files"))
    }

    /// The classes of the namespaces named, each with as many classes as stand there, one namespace after the other.
    pub(super) fn new(names: &[(&str, usize)], classes: Vec<Class>) -> Schema {
        let mut namespaces = Vec::with_capacity(names.len());
        let mut first = 0;
        for (id, (name, count)) in (0..).map(NamespaceId).zip(names) {
            let own = classes.get(first..first + count).unwrap_or_default();
            let index = NameIndex::new(own.iter().map(|class| class.name.as_ref()));
            namespaces.push(Namespace { id, name: (*name).into(), first, count: *count, index });
            first += count;
        }
        let subclasses = classes
            .iter()
            .map(|top| {
                let mut below: Vec<&Class> = classes.iter().filter(|class| class.ancestry.contains(&top.id)).collect();
                below.sort_by_key(|class| class.ancestry.len());
                below.iter().map(|class| class.id).collect()
            })
            .collect();
        Schema { namespaces, classes, subclasses }
    }

    /// All namespaces, the default one first.
    pub fn namespaces(&self) -> &[Namespace] {
        &self.namespaces
    }

    /// The namespace of an id.
    ///
    /// # Panics
    /// When the id was made by a larger schema.
    pub fn namespace(&self, id: NamespaceId) -> &Namespace {
        self.namespaces.get(usize::from(id.0)).expect("a namespace id belongs to the schema that made it")
    }

    /// The name of the namespace of a class.
    pub fn namespace_of(&self, class: ClassId) -> &Arc<str> {
        &self.namespace(self.class(class).namespace).name
    }

    /// The namespace of a name: case does not matter, slash and backslash are the same, and either may stand around it.
    pub fn find_namespace(&self, name: &str) -> Option<NamespaceId> {
        self.namespaces.iter().find(|namespace| namespace.is_named(name)).map(|namespace| namespace.id)
    }

    /// The class of a name in the default namespace, without regard to case.
    pub fn find(&self, name: &str) -> Option<ClassId> {
        self.find_in(NamespaceId::DEFAULT, name)
    }

    /// The class of a name in a namespace, without regard to case.
    pub fn find_in(&self, namespace: NamespaceId, name: &str) -> Option<ClassId> {
        let namespace = self.namespace(namespace);
        let class_at = |at: u16| self.classes.get(namespace.first + usize::from(at));
        let found = namespace.index.find(name, |at| class_at(at).map(|class| class.name.as_ref()))?;
        class_at(found).map(|class| class.id)
    }

    /// The classes of a namespace, superclasses first.
    pub fn classes_of(&self, namespace: NamespaceId) -> &[Class] {
        let Namespace { first, count, .. } = *self.namespace(namespace);
        self.classes.get(first..first + count).unwrap_or_default()
    }

    /// The class of an id.
    ///
    /// # Panics
    /// When the id was made by a larger schema.
    pub fn class(&self, id: ClassId) -> &Class {
        self.classes.get(id.index()).expect("a class id belongs to the schema that made it")
    }

    /// The class of a name in the default namespace, without regard to case.
    pub fn class_by_name(&self, name: &str) -> Option<&Class> {
        self.find(name).map(|id| self.class(id))
    }

    /// All classes of all namespaces.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The class and all below it, parents first.
    pub fn subclasses(&self, id: ClassId) -> &[ClassId] {
        self.subclasses.get(id.index()).map_or(&[], Vec::as_slice)
    }

    /// Whether `id` is `ancestor` or below it.
    pub fn is_a(&self, id: ClassId, ancestor: ClassId) -> bool {
        let depth = self.class(ancestor).ancestry.len() - 1;
        self.class(id).ancestry.get(depth) == Some(&ancestor)
    }

    /// The method of an id.
    pub fn method(&self, id: MethodId) -> Option<&Method> {
        self.class(id.class).methods.get(usize::from(id.index))
    }
}

impl Namespace {
    /// Whether `text` means this namespace.
    fn is_named(&self, text: &str) -> bool {
        let text = text.trim().trim_matches(['/', '\\']);
        let same = |(a, b): (u8, u8)| a.eq_ignore_ascii_case(&b) || (a == b'\\' && b == b'/');
        text.len() == self.name.len() && text.bytes().zip(self.name.bytes()).all(same)
    }
}

impl Class {
    /// The property of a name, without regard to case, and its slot.
    pub fn property(&self, name: &str) -> Option<(u16, &Property)> {
        let at = |slot: u16| self.properties.get(usize::from(slot));
        let slot = self.property_index.find(name, |slot| at(slot).map(|property| property.name.as_ref()))?;
        Some((slot, at(slot)?))
    }

    /// The slot of a property's name, without regard to case.
    pub fn slot(&self, name: &str) -> Option<u16> {
        self.property(name).map(|(slot, _)| slot)
    }

    /// The property at a slot.
    pub fn property_at(&self, slot: u16) -> Option<&Property> {
        self.properties.get(usize::from(slot))
    }

    /// All slots with their properties.
    pub fn slots(&self) -> impl Iterator<Item = (u16, &Property)> {
        (0..u16::MAX).zip(&self.properties)
    }

    /// The method of a name, without regard to case.
    pub fn method(&self, name: &str) -> Option<&Method> {
        self.method_id(name).and_then(|id| self.methods.get(usize::from(id.index)))
    }

    /// The id of a method's name, without regard to case.
    pub fn method_id(&self, name: &str) -> Option<MethodId> {
        let name_at = |at: u16| self.methods.get(usize::from(at)).map(|method| method.name.as_ref());
        self.method_index.find(name, name_at).map(|index| MethodId { class: self.id, index })
    }

    /// From the topmost class to this one.
    pub fn ancestry(&self) -> &[ClassId] {
        &self.ancestry
    }

    /// The name as a value, without a copy.
    pub fn name_text(&self) -> Text {
        Text::Shared(Arc::clone(&self.name))
    }
}

impl Property {
    /// The value of a qualifier, without regard to case.
    pub fn qualifier(&self, name: &str) -> Option<&Value> {
        self.qualifiers.iter().find(|qualifier| qualifier.name.eq_ignore_ascii_case(name)).map(|found| &found.value)
    }
}

impl Method {
    /// The parameter of a name, without regard to case.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name.eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Embedded::Instance(class) => f.write_str(class),
            Embedded::Object => f.write_str("any class"),
        }
    }
}
