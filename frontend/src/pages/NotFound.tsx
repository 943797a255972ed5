/// Nothing is here.
import { Link } from 'react-router';
import { Gate } from '../ui/Mark.tsx';
import { Page } from '../ui/Page.tsx';

export function NotFound() {
  return (
    <div className="m-auto grid max-w-2xl items-center gap-8 py-8 sm:grid-cols-[auto_1fr]">
      <div className="rounded-2xl bg-[#1c3b3b] px-6 pt-6">
        <Gate open={false} className="mx-auto w-36" />
      </div>
      <div>
        <p className="eyebrow mb-2">404</p>
        <Page
          title="Not found"
          heading="There is no way through here"
          lead="The page that you asked for does not exist."
        >
          <Link className="button button-primary mt-6" to="/">
            Go home
          </Link>
        </Page>
      </div>
    </div>
  );
}
