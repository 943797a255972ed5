/// The two pages in front of the gate: the archway beside a form.
import type { ReactNode } from 'react';
import { Gate } from '../ui/Mark.tsx';
import { Page } from '../ui/Page.tsx';

interface Props {
  title: string;
  heading: string;
  lead?: ReactNode;
  /** Whether somebody is being let in. */
  opening: boolean;
  children: ReactNode;
}

export function Gatehouse({ title, heading, lead, opening, children }: Props) {
  return (
    <div className="card mx-auto my-auto grid w-full max-w-4xl overflow-hidden md:grid-cols-[5fr_6fr]">
      <div className="hidden items-end justify-center bg-[#1c3b3b] px-8 pt-12 md:flex">
        <Gate open={opening} className="w-full max-w-72" />
      </div>
      <div className="px-5 py-8 sm:px-10 sm:py-12">
        <Page title={title} heading={heading} lead={lead}>
          <div className="mt-7">{children}</div>
        </Page>
      </div>
    </div>
  );
}
