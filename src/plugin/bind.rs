//! `bind ADDR|IFACE… { except ADDR|IFACE… }`: listen on these addresses only.

use super::{Need, Reading, Settings};

#[derive(Debug)]
struct Bind {
    only: Vec<String>,
    except: Vec<String>,
}

impl Settings for Bind {
    fn needs(&self) -> Vec<Need> {
        vec![Need::Bind { only: self.only.clone(), except: self.except.clone() }]
    }
}

pub(super) fn read(reading: &mut Reading<'_>) -> Option<Box<dyn Settings>> {
    let mut bind = Bind { only: Vec::new(), except: Vec::new() };
    reading.each(|arguments| {
        if let Some(first) = arguments.required("an address or an interface") {
            bind.only.extend(
                [first].into_iter().chain(arguments.rest()).map(|token| token.text.clone()),
            );
        }
        arguments.options(|option| match option.name() {
            "except" => {
                if let Some(first) = option.required("an address or an interface") {
                    bind.except.extend(
                        [first].into_iter().chain(option.rest()).map(|token| token.text.clone()),
                    );
                }
            }
            _ => option.unknown(&["except"]),
        });
    });
    Some(Box::new(bind))
}
