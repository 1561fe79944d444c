//! What can be known of a module without running it: looked at before it is compiled, byte by byte.
//!
//! The form is CosmWasm's static gate at upload. Everything here is a loop over bounded input; a panic of the parser,
//! which hostile bytes have caused before, is a refusal.

mod cost;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ordain_sdk::contract::{CONTRACT_VERSION, SECTION_CONTRACT, SECTION_SCHEMAS};
use wasmparser::types::{EntityType, Types};
use wasmparser::{
    CustomSectionReader, Encoding, FuncToValidate, FuncValidatorAllocations, FunctionBody, Parser, Payload,
    ValidPayload, Validator, ValidatorResources, WasmFeatures,
};

use cost::Cost;

use super::limits::Limits;
use super::refused::{Refused, Rule};
use super::schemas::Schemas;
use super::seal;
use super::text::one_line;

/// What rustc emits for `wasm32-unknown-unknown`, and SIMD, which is deterministic but for its relaxed form.
/// Absent on purpose: threads, memory64, multi-memory, exceptions, garbage collection, tail calls, components.
pub const FEATURES: WasmFeatures = WasmFeatures::WASM2.difference(WasmFeatures::GC_TYPES);

/// Functions of one module. The bank example has two hundred.
const FUNCTIONS_MAX: u32 = 20_000;
/// Types, globals, exports and segments of each kind of one module.
const ITEMS_MAX: u32 = 20_000;
/// Code bytes of one function: the compiler needs more than linear time for some forms.
const FUNCTION_BYTES_MAX: usize = 1 << 20;
/// Locals of one function.
const LOCALS_MAX: u32 = 10_000;
/// Blocks inside blocks of one function; a `match` of n arms compiles to n of them.
const NESTING_MAX: u32 = 5_000;
/// Bytes of the schemas' JSON.
const SCHEMAS_BYTES_MAX: usize = 1 << 20;

/// The functions of the contract with their parameters and results; `i` is `i32`, `I` is `i64`.
const EXPORTS: [(&str, &str, &str); 10] = [
    ("ordain_init", "", ""),
    ("ordain_describe", "", "I"),
    ("ordain_buf", "i", "i"),
    ("ordain_load", "ii", "I"),
    ("ordain_decide", "iii", "I"),
    ("ordain_fold", "ii", "I"),
    ("ordain_snapshot", "ii", "I"),
    ("ordain_drop", "i", ""),
    ("ordain_log", "", "I"),
    ("ordain_panic", "", "I"),
];

/// What the gate learned of a module that passed it.
#[derive(Debug)]
pub struct Gated {
    /// Version of the SDK it says it was built with; shown, never trusted.
    pub sdk: String,
    /// Its schemas, if it was built by `ordain build`.
    pub schemas: Option<Schemas>,
    /// Compiling it well could take for ever: it is compiled fast instead.
    pub costly: bool,
    /// Its build sealed it, so it is surely whole.
    pub sealed: bool,
    /// What is allowed and still smells.
    pub warnings: Vec<String>,
}

/// Looks at a module's bytes.
///
/// # Errors
/// [`Refused`] with the first rule that is broken.
pub fn check(bytes: &[u8], limits: &Limits) -> Result<Gated, Refused> {
    if bytes.len() as u64 > limits.module_bytes_max {
        return Err(Refused::new(
            Rule::Size,
            format!(
                "the module has {} bytes and limits.module_bytes_max is {}: build it with --release, or raise the limit",
                bytes.len(),
                limits.module_bytes_max
            ),
        ));
    }
    let sealed = seal::check(bytes)?;
    catch_unwind(AssertUnwindSafe(|| Gate::new(limits).run(bytes, sealed))).unwrap_or_else(|_| {
        Err(Refused::new(Rule::Invalid, "the module's bytes broke the parser: build it again with a current toolchain"))
    })
}

/// The state of one pass over the sections.
struct Gate<'a> {
    limits: &'a Limits,
    allocations: FuncValidatorAllocations,
    contract: Option<String>,
    schemas: Option<Schemas>,
    warnings: Vec<String>,
    cost: Cost,
}

impl<'a> Gate<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self {
            limits,
            allocations: FuncValidatorAllocations::default(),
            contract: None,
            schemas: None,
            warnings: Vec::new(),
            cost: Cost::default(),
        }
    }

    fn run(mut self, bytes: &[u8], sealed: bool) -> Result<Gated, Refused> {
        let mut validator = Validator::new_with_features(FEATURES);
        let mut types = None;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(invalid)?;
            self.look_at(&payload)?;
            match validator.payload(&payload).map_err(invalid)? {
                ValidPayload::Func(function, body) => self.function(function, &body)?,
                ValidPayload::End(all) => types = Some(all),
                ValidPayload::Ok | ValidPayload::Parser(_) => {}
            }
        }
        let Some(types) = types else {
            return Err(Refused::new(Rule::Invalid, "the module ends before it is whole: copy or build it again"));
        };
        self.exports(&types)?;
        self.memory(&types)?;
        self.tables(&types)?;
        let Some(sdk) = self.contract else {
            return Err(Refused::new(
                Rule::Contract,
                format!(
                    "the module has no section {SECTION_CONTRACT}, so it is not built with ordain-sdk: see `ordain new`"
                ),
            ));
        };
        let costly = self.cost.is_costly();
        if costly {
            self.warnings.push(
                "the module has functions so large that it is compiled fast and not well, and decides more slowly: split \
                 the largest ones"
                    .to_owned(),
            );
        }
        Ok(Gated { sdk, schemas: self.schemas, costly, sealed, warnings: self.warnings })
    }

    /// What is refused before the validator spends time on it, and what the validator does not know.
    fn look_at(&mut self, payload: &Payload<'_>) -> Result<(), Refused> {
        match payload {
            Payload::Version { encoding: Encoding::Component, .. } => Err(Refused::new(
                Rule::Feature,
                "the file is a component; Ordain hosts core modules: build for wasm32-unknown-unknown",
            )),
            Payload::ImportSection(imports) => match imports.clone().into_imports().next() {
                None => Ok(()),
                Some(Err(error)) => Err(invalid(error)),
                Some(Ok(import)) => Err(imports_something(import.module, import.name)),
            },
            Payload::StartSection { .. } => Err(Refused::new(
                Rule::Start,
                "the module has a start function, which would run before any limit applies: move its work to ordain_init",
            )),
            Payload::TypeSection(section) => at_most("types", section.count(), ITEMS_MAX),
            Payload::FunctionSection(section) => at_most("functions", section.count(), FUNCTIONS_MAX),
            Payload::GlobalSection(section) => at_most("globals", section.count(), ITEMS_MAX),
            Payload::ExportSection(section) => at_most("exports", section.count(), ITEMS_MAX),
            Payload::ElementSection(section) => at_most("element segments", section.count(), ITEMS_MAX),
            Payload::DataSection(section) => at_most("data segments", section.count(), ITEMS_MAX),
            Payload::MemorySection(section) if section.count() > 1 => Err(one_memory(section.count())),
            Payload::CustomSection(section) => self.custom(section),
            _ => Ok(()),
        }
    }

    fn function(
        &mut self,
        function: FuncToValidate<ValidatorResources>,
        body: &FunctionBody<'_>,
    ) -> Result<(), Refused> {
        let index = function.index;
        let bytes = body.range().len();
        if bytes > FUNCTION_BYTES_MAX {
            return Err(too_costly(index, format!("has {bytes} bytes of code, the limit is {FUNCTION_BYTES_MAX}")));
        }
        let mut validator = function.into_validator(std::mem::take(&mut self.allocations));
        let mut reader = body.get_binary_reader();
        validator.read_locals(&mut reader).map_err(invalid)?;
        if validator.len_locals() > LOCALS_MAX {
            let locals = validator.len_locals();
            return Err(too_costly(index, format!("has {locals} locals, the limit is {LOCALS_MAX}")));
        }
        reader.set_features(FEATURES);
        let (mut blocks, mut nesting) = (0_u64, validator.control_stack_height());
        while !reader.eof() {
            let at = reader.original_position();
            reader.visit_operator(&mut validator.visitor(at)).and_then(|valid| valid).map_err(invalid)?;
            let now = validator.control_stack_height();
            blocks += u64::from(now > nesting);
            nesting = now;
            if nesting > NESTING_MAX {
                return Err(too_costly(index, format!("nests its blocks deeper than {NESTING_MAX}")));
            }
        }
        if !self.cost.add(u64::from(validator.len_locals()), blocks) {
            return Err(too_costly(index, "has too many local values in too many blocks".to_owned()));
        }
        let end = reader.original_position();
        reader.finish_expression(&validator.visitor(end)).map_err(invalid)?;
        self.allocations = validator.into_allocations();
        Ok(())
    }

    fn custom(&mut self, section: &CustomSectionReader<'_>) -> Result<(), Refused> {
        match section.name() {
            SECTION_CONTRACT if self.contract.is_some() => Err(twice(Rule::Contract, SECTION_CONTRACT)),
            SECTION_CONTRACT => {
                self.contract = Some(read_contract(section.data())?);
                Ok(())
            }
            SECTION_SCHEMAS if self.schemas.is_some() => Err(twice(Rule::Schemas, SECTION_SCHEMAS)),
            SECTION_SCHEMAS => {
                let data = section.data();
                if data.len() > SCHEMAS_BYTES_MAX {
                    let message = format!("the section {SECTION_SCHEMAS} has {} bytes, the limit is 1 MiB", data.len());
                    return Err(Refused::new(Rule::Schemas, message));
                }
                self.schemas = Some(Schemas::parse(data)?);
                Ok(())
            }
            "name" => {
                if mentions(section.data(), b"RandomState") {
                    self.warnings.push(
                        "the module holds std's hashing with random keys (HashMap or HashSet): what depends on its order \
                         differs from instance to instance; use BTreeMap"
                            .to_owned(),
                    );
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn exports(&self, types: &Types) -> Result<(), Refused> {
        let exported: HashMap<&str, EntityType> = types.as_ref().core_exports().into_iter().flatten().collect();
        if !matches!(exported.get("memory"), Some(EntityType::Memory(_))) {
            return Err(Refused::new(
                Rule::Exports,
                "the module does not export its memory as \"memory\": build it with ordain-sdk",
            ));
        }
        for (name, parameters, results) in EXPORTS {
            let Some(EntityType::Func(id)) = exported.get(name) else {
                let message =
                    format!("the module does not export the function {name}: add `ordain_sdk::export!(YourType);`");
                return Err(Refused::new(Rule::Exports, message));
            };
            let is = types[*id].unwrap_func();
            if letters(is.params()) != parameters || letters(is.results()) != results {
                let message = format!(
                    "the export {name} is {is}, the contract says otherwise: build it with ordain-sdk {CONTRACT_VERSION}"
                );
                return Err(Refused::new(Rule::Exports, message));
            }
        }
        Ok(())
    }

    fn memory(&self, types: &Types) -> Result<(), Refused> {
        let types = types.as_ref();
        if types.memory_count() != 1 {
            return Err(one_memory(types.memory_count()));
        }
        let bytes = types.memory_at(0).initial.saturating_mul(64 << 10);
        let limit = self.limits.memory_bytes_per_instance;
        if bytes > limit {
            return Err(Refused::new(
                Rule::Memory,
                format!(
                    "the module starts with {bytes} bytes of memory and limits.memory_bytes_per_instance is {limit}: \
                     make its statics smaller, or raise the limit"
                ),
            ));
        }
        Ok(())
    }

    fn tables(&self, types: &Types) -> Result<(), Refused> {
        let types = types.as_ref();
        let tables = (0..types.table_count()).map(|i| types.table_at(i).initial);
        let elements = tables.fold(0_u64, u64::saturating_add);
        let limit = self.limits.table_elements_max;
        if types.table_count() > 1 || elements > limit {
            let count = types.table_count();
            return Err(Refused::new(
                Rule::Tables,
                format!(
                    "the module has {count} tables with {elements} elements; one with {limit} (limits.table_elements_max) is allowed"
                ),
            ));
        }
        Ok(())
    }
}

/// A value type list as letters, to compare with [`EXPORTS`].
fn letters(types: &[wasmparser::ValType]) -> String {
    types
        .iter()
        .map(|t| match t {
            wasmparser::ValType::I32 => 'i',
            wasmparser::ValType::I64 => 'I',
            _ => '?',
        })
        .collect()
}

fn read_contract(data: &[u8]) -> Result<String, Refused> {
    let Some((version, sdk)) = data.split_first_chunk::<4>() else {
        let message = format!("the section {SECTION_CONTRACT} is cut short: build the module again");
        return Err(Refused::new(Rule::Contract, message));
    };
    let version = u32::from_le_bytes(*version);
    let sdk = one_line(sdk, 64);
    if version != CONTRACT_VERSION {
        return Err(Refused::new(
            Rule::Contract,
            format!(
                "the module is built for contract {version} (SDK {sdk}); this host runs contract {CONTRACT_VERSION}: \
                 rebuild it with the SDK of this host's version"
            ),
        ));
    }
    Ok(sdk)
}

/// The validator's verdict as a refusal.
fn invalid(error: wasmparser::Error) -> Refused {
    let text = one_line(error.to_string().as_bytes(), 300);
    match error.missing_wasm_feature() {
        Some(_) => Refused::new(
            Rule::Feature,
            format!(
                "the module uses a feature of Wasm that is switched off here ({text}): build for wasm32-unknown-unknown with its default features"
            ),
        ),
        None => Refused::new(Rule::Invalid, format!("the module is not valid ({text}): copy or build it again")),
    }
}

fn imports_something(module: &str, name: &str) -> Refused {
    let what = format!("{}.{}", one_line(module.as_bytes(), 64), one_line(name.as_bytes(), 64));
    let hint = if module.starts_with("wasi") {
        "build for wasm32-unknown-unknown, not for WASI"
    } else {
        "rules get everything they may know as arguments; remove the dependency that needs it"
    };
    Refused::new(Rule::Imports, format!("the module imports {what}, but a module may import nothing: {hint}"))
}

fn at_most(what: &str, count: u32, limit: u32) -> Result<(), Refused> {
    if count <= limit {
        return Ok(());
    }
    Err(Refused::new(
        Rule::Code,
        format!("the module has {count} {what}, the limit is {limit}: split the type's rules"),
    ))
}

fn too_costly(index: u32, what: String) -> Refused {
    Refused::new(Rule::Code, format!("function {index} of the module {what}: split it, or build with --release"))
}

fn one_memory(count: u32) -> Refused {
    Refused::new(Rule::Memory, format!("the module has {count} memories, it must have one: build it with ordain-sdk"))
}

fn twice(rule: Rule, section: &str) -> Refused {
    Refused::new(rule, format!("the module has the section {section} twice: build it again"))
}

fn mentions(data: &[u8], word: &[u8]) -> bool {
    data.windows(word.len()).any(|window| window == word)
}
