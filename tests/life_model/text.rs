//! Programs as text.

use crate::program::{Act, Body, Deed, Host, Payload, Program, Step, Wait};
use std::fmt;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Text { f, depth: 0 };
        text.line(&format!("{:?}", self.settings))?;
        for rule in &self.rules {
            let times = if rule.always { "always" } else { "once" };
            text.line(&format!("hears {:?}, {times}: {:?}", rule.kind, rule.verdict))?;
            text.deeper(|text| text.deeds(&rule.deeds))?;
        }
        for host in &self.host {
            match host {
                Host::Do(deed) => text.deed(deed)?,
                Host::BlockOn(body) => {
                    text.line("     block on")?;
                    text.deeper(|text| text.body(body))?;
                }
                host => text.line(&format!("     {host:?}"))?,
            }
        }
        Ok(())
    }
}

struct Text<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    depth: usize,
}

impl Text<'_, '_> {
    fn line(&mut self, line: &str) -> fmt::Result {
        writeln!(self.f, "{:width$}{line}", "", width = 4 * self.depth)
    }

    fn deeper(&mut self, write: impl FnOnce(&mut Self) -> fmt::Result) -> fmt::Result {
        self.depth += 1;
        write(self)?;
        self.depth -= 1;
        Ok(())
    }

    fn deeds(&mut self, deeds: &[Deed]) -> fmt::Result {
        deeds.iter().try_for_each(|deed| self.deed(deed))
    }

    fn deed(&mut self, deed: &Deed) -> fmt::Result {
        self.act(deed.label, &deed.act)
    }

    fn act(&mut self, label: u32, act: &Act) -> fmt::Result {
        match act {
            Act::Spawn(slot, body) => {
                self.line(&format!("{label:>3}  spawn, into slot {slot}"))?;
                self.deeper(|text| text.body(body))
            }
            Act::TrySpawn(slot, body) => {
                self.line(&format!("{label:>3}  try_spawn, into slot {slot}"))?;
                self.deeper(|text| text.body(body))
            }
            Act::OnDone { slot, looks, deeds } => {
                self.line(&format!("{label:>3}  on_done of slot {slot}, looks: {looks}"))?;
                self.deeper(|text| text.deeds(deeds))
            }
            Act::Report(payload) => self.payload(label, "Report", payload),
            act => self.line(&format!("{label:>3}  {act:?}")),
        }
    }

    fn payload(&mut self, label: u32, what: &str, payload: &Payload) -> fmt::Result {
        let holds = payload.holds.map(|slot| format!(", holds that of slot {slot}"));
        self.line(&format!("{label:>3}  {what}{}, when dropped:", holds.unwrap_or_default()))?;
        self.deeper(|text| text.deeds(&payload.on_drop))
    }

    fn body(&mut self, body: &Body) -> fmt::Result {
        let scoped = if body.cleanup.is_some() { ", in a scope" } else { "" };
        self.line(&format!("{:>3}  task{scoped}", body.label))?;
        self.deeper(|text| body.inside.iter().try_for_each(|step| text.step(step)))?;
        if let Some(cleanup) = &body.cleanup {
            self.line(&format!("     clean-up, then {:?}", cleanup.after))?;
            self.deeper(|text| cleanup.steps.iter().try_for_each(|step| text.step(step)))?;
        }
        if !body.guard.is_empty() {
            self.line("     when its locals go")?;
            self.deeper(|text| text.deeds(&body.guard))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> fmt::Result {
        let label = step.label;
        match &step.wait {
            Wait::Do(act) => self.act(label, act),
            Wait::Value(payload) => self.payload(label, "Value", payload),
            Wait::Fail(payload) => self.payload(label, "Fail", payload),
            Wait::Throw(payload) => self.payload(label, "Throw", payload),
            wait => self.line(&format!("{label:>3}  {wait:?}")),
        }
    }
}
