//! What may stand in the signature of an import: numbers, and addresses in the guest's memory.
//!
//! To compiled code an address is a number like others. A signature says with [`In`] and [`Out`]
//! what lies there and who writes it: for those who write a binding, and for the header for C, which
//! is made of it. The function itself gets a [`Ptr`].

use std::convert::Infallible;
use std::marker::PhantomData;

use lunatic_engine::Type;

use crate::memory::Ptr;

/// What a parameter or a result is, beyond its type in WebAssembly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// A number without a sign, or an id.
    Unsigned,
    /// A number with one.
    Signed,
    /// A floating-point number.
    Float,
    /// An address; the interface is one that others have described (WASI), or a forgotten one.
    Address,
    /// The address of what the host reads.
    Reads(Pointee),
    /// The address of what the host writes.
    Writes(Pointee),
}

/// What lies at an address: one of these, or several as another parameter counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointee {
    /// Bytes that mean nothing to the host.
    Bytes,
    /// UTF-8.
    Text,
    /// A byte of an address of the network.
    U8,
    /// A number.
    U16,
    /// A number.
    U32,
    /// A number, or an id.
    U64,
    /// A number with a sign.
    I64,
    /// Parameters of a function that is spawned, records of 17 bytes.
    Parameters,
    /// Records of an address and a length.
    Buffers,
    /// The 40 bytes of `lunatic::message::get_exit_reason`.
    ExitRecord,
}

/// A type that may stand in the signature of an import.
pub(crate) trait GuestType: Sized {
    /// How it is passed.
    type Abi: Copy;
    /// What the function gets.
    type Value;
    /// How WebAssembly calls it.
    const TYPE: Type;
    /// What else there is to say about it.
    const MEANING: Meaning;
    /// From a register; any bit pattern of the type may come.
    fn from_abi(value: Self::Abi) -> Self::Value;
}

macro_rules! guest_types {
    ($($rust:ty: $abi:ty, $wasm:ident, $meaning:ident, $value:ident => $convert:expr;)*) => {$(
        impl GuestType for $rust {
            type Abi = $abi;
            type Value = Self;
            const TYPE: Type = Type::$wasm;
            const MEANING: Meaning = Meaning::$meaning;
            fn from_abi($value: $abi) -> Self { $convert }
        }
    )*};
}

guest_types! {
    u32: u32, I32, Unsigned, value => value;
    i32: i32, I32, Signed, value => value;
    u64: u64, I64, Unsigned, value => value;
    i64: i64, I64, Signed, value => value;
    f64: f64, F64, Float, value => value;
    Ptr: u32, I32, Address, value => Ptr(value);
}

/// In a signature: the address of a `T` that the host reads.
pub(crate) struct In<T>(Never<T>);

/// In a signature: the address of room for a `T` that the host writes.
pub(crate) struct Out<T>(Never<T>);

type Never<T> = (Infallible, PhantomData<T>);

impl<T: Lies> GuestType for In<T> {
    type Abi = u32;
    type Value = Ptr;
    const TYPE: Type = Type::I32;
    const MEANING: Meaning = Meaning::Reads(T::POINTEE);
    fn from_abi(value: u32) -> Ptr {
        Ptr(value)
    }
}

impl<T: Lies> GuestType for Out<T> {
    type Abi = u32;
    type Value = Ptr;
    const TYPE: Type = Type::I32;
    const MEANING: Meaning = Meaning::Writes(T::POINTEE);
    fn from_abi(value: u32) -> Ptr {
        Ptr(value)
    }
}

/// What may lie at an address.
pub(crate) trait Lies {
    /// As the tables say it.
    const POINTEE: Pointee;
}

macro_rules! lies {
    ($($(#[doc = $doc:literal])? $name:ident;)*) => {$(
        $(#[doc = $doc] pub(crate) enum $name {})?
        impl Lies for $name {
            const POINTEE: Pointee = Pointee::$name;
        }
    )*};
}

lies! {
    /// See [`Pointee::Bytes`].
    Bytes;
    /// See [`Pointee::Text`].
    Text;
    /// See [`Pointee::Parameters`].
    Parameters;
    /// See [`Pointee::Buffers`].
    Buffers;
    /// See [`Pointee::ExitRecord`].
    ExitRecord;
}

macro_rules! numbers_lie {
    ($($rust:ident: $pointee:ident;)*) => {$(
        impl Lies for $rust {
            const POINTEE: Pointee = Pointee::$pointee;
        }
    )*};
}

numbers_lie! { u8: U8; u16: U16; u32: U32; u64: U64; i64: I64; }

/// A type that an import may return.
pub(crate) trait GuestResult: Sized {
    /// How it is passed.
    type Abi;
    /// None, or one.
    const TYPES: &'static [Type];
    /// What else there is to say about it.
    const MEANING: Option<Meaning>;
    /// Into a register.
    fn into_abi(self) -> Self::Abi;
}

macro_rules! guest_results {
    ($($rust:ty: $wasm:ident, $meaning:ident;)*) => {$(
        impl GuestResult for $rust {
            type Abi = $rust;
            const TYPES: &'static [Type] = &[Type::$wasm];
            const MEANING: Option<Meaning> = Some(Meaning::$meaning);
            fn into_abi(self) -> $rust { self }
        }
    )*};
}

guest_results! { u32: I32, Unsigned; i32: I32, Signed; u64: I64, Unsigned; i64: I64, Signed; }

impl GuestResult for () {
    type Abi = ();
    const TYPES: &'static [Type] = &[];
    const MEANING: Option<Meaning> = None;
    fn into_abi(self) {}
}

#[cfg(test)]
mod tests {
    use super::Meaning;
    use crate::api::modules;

    #[test]
    fn the_interfaces_of_lunatic_say_what_lies_at_each_address() {
        let own = modules().into_iter().filter(|module| module.name.starts_with("lunatic::"));
        let mut addresses = 0;
        for (module, function) in own.flat_map(|m| m.functions.iter().map(move |f| (m.name, f))) {
            for param in function.params {
                let name = format!("{module}::{} {}", function.function.name, param.name);
                assert_ne!(param.meaning, Meaning::Address, "{name}: use In<…> or Out<…>");
                addresses +=
                    usize::from(matches!(param.meaning, Meaning::Reads(_) | Meaning::Writes(_)));
            }
        }
        assert!(addresses > 0, "there are some");
    }
}
