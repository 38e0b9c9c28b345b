//! The attribute `#[lunatic::test]`; see its page in the crate `lunatic`, which hands it on.
//!
//! It leaves the function as it is and adds an exported one, whose name tells `lunatic test` all about the test:
//! `#lunatic_test_`, then `#ignore_` if it is ignored, then `#panic_TEXT#` if it should panic (`#` in TEXT as `\#`), then
//! the path. A function's head is simple enough to be read token by token, so this needs no parser of Rust.

use proc_macro::{Delimiter, Group, Literal, Span, TokenStream, TokenTree};

/// Makes a function a test that `lunatic test` runs: see the crate `lunatic`.
#[proc_macro_attribute]
pub fn test(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let result = match arguments.into_iter().next() {
        Some(first) => Err(Refusal(first.span(), "`#[lunatic::test]` takes no arguments".into())),
        None => Head::read(item.clone()).and_then(|head| head.export()),
    };
    match result {
        Ok((item, export)) => item.into_iter().chain(export).collect(),
        // With the function, so that nothing else is missing.
        Err(refusal) => refusal.to_tokens().into_iter().chain(item).collect(),
    }
}

/// Why, and where.
struct Refusal(Span, String);

impl Refusal {
    fn to_tokens(&self) -> TokenStream {
        let text: TokenStream = parse(&format!("::core::compile_error!({:?});", self.1));
        text.into_iter().map(|token| spanned(token, self.0)).collect()
    }
}

/// What comes before a function's body.
struct Head {
    /// The function, without the attributes that are for us.
    item: Vec<TokenTree>,
    /// Its `#[cfg(…)]`, which the export needs, too.
    cfgs: Vec<TokenTree>,
    name: String,
    ignored: bool,
    /// The text, in a literal as its author has written it.
    should_panic: Option<Option<Literal>>,
}

impl Head {
    fn read(item: TokenStream) -> Result<Head, Refusal> {
        let mut head = Head {
            item: Vec::new(),
            cfgs: Vec::new(),
            name: String::new(),
            ignored: false,
            should_panic: None,
        };
        let mut tokens = item.into_iter().peekable();
        let nothing = || Refusal(Span::call_site(), "only a function can be a test".into());
        loop {
            let token = tokens.next().ok_or_else(nothing)?;
            match &token {
                TokenTree::Punct(hash) if hash.as_char() == '#' => match tokens.next() {
                    Some(TokenTree::Group(attribute)) => head.attribute(token, attribute)?,
                    _ => return Err(nothing()),
                },
                TokenTree::Ident(word) if word.to_string() == "fn" => {
                    head.item.push(token);
                    break;
                }
                TokenTree::Ident(word) => {
                    let word = word.to_string();
                    if word == "async" || word == "unsafe" {
                        return Err(Refusal(token.span(), format!("a test cannot be `{word}`")));
                    }
                    head.item.push(token);
                }
                TokenTree::Group(_) | TokenTree::Literal(_) => head.item.push(token),
                TokenTree::Punct(_) => return Err(nothing()),
            }
        }
        let name = tokens.next().ok_or_else(nothing)?;
        head.name = name.to_string();
        head.item.push(name);
        match tokens.peek() {
            Some(TokenTree::Group(arguments)) if arguments.stream().is_empty() => {}
            Some(other) => {
                let text = "a test has no parameters: each is a run of its own";
                return Err(Refusal(other.span(), text.into()));
            }
            None => return Err(nothing()),
        }
        head.item.extend(tokens);
        Ok(head)
    }

    /// Takes `#[should_panic]` and `#[ignore]`, and keeps all others.
    fn attribute(&mut self, hash: TokenTree, attribute: Group) -> Result<(), Refusal> {
        let mut inner = attribute.stream().into_iter();
        match inner.next().map(|name| name.to_string()).as_deref() {
            Some("ignore") => self.ignored = true,
            Some("should_panic") => self.should_panic = Some(expected(inner)?),
            name => {
                let pair = [hash, attribute.into()];
                if name == Some("cfg") {
                    self.cfgs.extend(pair.clone());
                }
                self.item.extend(pair);
            }
        }
        Ok(())
    }

    /// The function, and the export that runs it.
    fn export(self) -> Result<(TokenStream, TokenStream), Refusal> {
        let ignore = if self.ignored { "#ignore_" } else { "" };
        let panic = match self.should_panic {
            None => Literal::string(""),
            Some(None) => Literal::string("#panic_#"),
            Some(Some(text)) => Literal::string(&format!("#panic_{}#", escaped(&text)?)),
        };
        let name = self.name.strip_prefix("r#").unwrap_or(&self.name);
        let function = &self.name;
        let export = parse(&format!(
            "#[cfg(test)] const _: () = {{
                #[unsafe(export_name = ::core::concat!(
                    \"#lunatic_test_{ignore}\", {panic}, ::core::module_path!(), \"::{name}\"
                ))]
                extern \"C\" fn run() {{ ::lunatic::__run_test({function}) }}
            }};"
        ));
        let gate = parse("#[cfg(test)]");
        let item = gate.into_iter().chain(self.item).collect();
        Ok((item, self.cfgs.into_iter().chain(export).collect()))
    }
}

/// The text in `should_panic`, `should_panic = "…"` or `should_panic(expected = "…")`.
fn expected(rest: impl Iterator<Item = TokenTree>) -> Result<Option<Literal>, Refusal> {
    for token in rest {
        match token {
            TokenTree::Literal(text) => return Ok(Some(text)),
            TokenTree::Group(list) if list.delimiter() == Delimiter::Parenthesis => {
                return expected(list.stream().into_iter());
            }
            TokenTree::Group(other) => {
                return Err(Refusal(other.span(), "expected is a text".into()));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// What a literal's text looks like in the name of an export. Of escapes, those that texts of panics have.
fn escaped(literal: &Literal) -> Result<String, Refusal> {
    let refused = || Refusal(literal.span(), "the expected text is not a string".into());
    let source = literal.to_string();
    let raw = source.starts_with('r');
    let source = source.trim_start_matches('r').trim_matches('#');
    let text = source.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let text = text.ok_or_else(refused)?;
    let text = if raw { text.to_string() } else { unescaped(text).ok_or_else(refused)? };
    Ok(text.replace('#', "\\#"))
}

fn unescaped(source: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = source.chars();
    while let Some(character) = rest.next() {
        text.push(match character {
            '\\' => match rest.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                same @ ('\\' | '"' | '\'') => same,
                _ => return None,
            },
            other => other,
        });
    }
    Some(text)
}

fn parse(text: &str) -> TokenStream {
    text.parse().expect("it is Rust")
}

fn spanned(mut token: TokenTree, span: Span) -> TokenTree {
    token.set_span(span);
    token
}
