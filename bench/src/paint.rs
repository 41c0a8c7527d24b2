//! What all pictures have in common: paints, and text made safe.
//!
//! Colours are plain rules, light by default and dark where the reader's page is: viewers that know nothing of
//! either show the light ones.

/// Styles: `bg`, text, `ink` (filled as text), `dim` text, `grid` and `axis` lines, `line`, and eight colours that
/// colour-blind readers tell apart, as strokes (`s0` to `s7`) and as fills (`f0` to `f7`).
pub const PAINT: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2933}.ink{fill:#1f2933}.bg{fill:#fff}.dim{fill:#5f6b76}\
.title{font-size:17px;font-weight:600}.grid{stroke:#e1e6eb}.axis{stroke:#5f6b76}\
.line{fill:none;stroke-width:2;stroke-linejoin:round}
.s0{stroke:#0067b1}.s1{stroke:#c2500c}.s2{stroke:#19794b}.s3{stroke:#7a3e9d}\
.s4{stroke:#8a6d00}.s5{stroke:#b3245f}.s6{stroke:#3d6b73}.s7{stroke:#555}\
.f0{fill:#0067b1}.f1{fill:#c2500c}.f2{fill:#19794b}.f3{fill:#7a3e9d}\
.f4{fill:#8a6d00}.f5{fill:#b3245f}.f6{fill:#3d6b73}.f7{fill:#555}
@media(prefers-color-scheme:dark){text,.ink{fill:#e6ebf0}.bg{fill:#14181d}.dim{fill:#9aa7b4}.grid{stroke:#2b333c}\
.axis{stroke:#9aa7b4}.s0{stroke:#62b0f0}.s1{stroke:#f59a5b}.s2{stroke:#5fc893}.s3{stroke:#c79be6}\
.s4{stroke:#d8bb4a}.s5{stroke:#f07fae}.s6{stroke:#86c5cf}.s7{stroke:#b5b5b5}\
.f0{fill:#62b0f0}.f1{fill:#f59a5b}.f2{fill:#5fc893}.f3{fill:#c79be6}\
.f4{fill:#d8bb4a}.f5{fill:#f07fae}.f6{fill:#86c5cf}.f7{fill:#b5b5b5}}
";

/// Dashes of lines, so that they differ on paper, too.
pub const DASHES: [&str; 4] = ["", "7 4", "2 4", "10 3 2 3"];

/// Text as the content of an element or an attribute.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
